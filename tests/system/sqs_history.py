"""Clients of the queues that remember what they asked and what they were told, and what must never be seen.

An outcome that nobody knows (the connection broke) counts as neither done nor not done.
"""
import random
import threading
import time

import botocore.exceptions

ERRORS = (botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError)
HIDDEN_S = 3
MOVING, MOVING_COUNT_MAX = "jobs", 2  # the queue with dead letters, and its maxReceiveCount
MARGIN_S = 0.05


def dead_arn(queue):
    return "arn:aws:sqs:us-east-1:000000000000:%s-dead" % queue


class History:
    def __init__(self):
        self.lock = threading.Lock()
        self.life = 0  # of the machine: a power loss may forget the last receives, a kill may not
        self.attempted, self.sent, self.deleted, self.delete_asked = set(), {}, set(), set()
        self.hidden = {}  # body: (life, until when on the monotonic clock)
        self.counts = {}  # (body, when sent): (life, the receive counts that were told)
        self.received = 0
        self.errors = []

    def wrong(self, text):
        self.errors.append(text)

    def on_sent(self, body, message_id, sequence):
        with self.lock:
            before = self.sent.setdefault(body, (message_id, sequence))
            if sequence is not None and before != (message_id, sequence):
                self.wrong("%s was sent as %s, and its duplicate as %s" % (body, before, (message_id, sequence)))

    def on_count(self, body, m, queue, life):
        """A receive count is told once, and no dead letter is received from its source again."""
        count, key = int(m["Attributes"]["ApproximateReceiveCount"]), (body, m["Attributes"]["SentTimestamp"])
        if queue == MOVING and count > MOVING_COUNT_MAX:
            self.wrong("%s was received %d times from %s" % (body, count, queue))
        if not life == self.life:
            return
        seen_life, seen = self.counts.get(key, (life, set()))
        seen = seen if seen_life == life else set()
        if count in seen:
            self.wrong("%s was received twice for the %d. time" % (body, count))
        self.counts[key] = (life, seen | {count})

    def on_received(self, messages, queue, life, asked_at):
        now = time.monotonic()
        with self.lock:
            for m in messages:
                body = m["Body"].rstrip(".")
                self.received += 1
                self.on_count(body, m, queue, life)
                if body not in self.attempted:
                    self.wrong("%s was received and never sent" % body)
                if body in self.deleted:
                    self.wrong("%s was received after its delete" % body)
                hidden_life, until = self.hidden.get(body, (-1, 0))
                if hidden_life == life == self.life and now < until - MARGIN_S:
                    self.wrong("%s was received %.2f s too early" % (body, until - now))
                self.hidden[body] = (life, asked_at + HIDDEN_S)

    def on_group_received(self, bodies):
        """FIFO: bodies are GROUP-NUMBER; what was before each must be deleted or come with it."""
        with self.lock:
            for i, body in enumerate(bodies):
                group, number = body.rsplit("-", 1)
                for earlier in range(int(number)):
                    name = "%s-%d" % (group, earlier)
                    if name not in self.delete_asked and name not in bodies[:i]:
                        self.wrong("%s was received before %s was done" % (body, name))
                        break


class Client(threading.Thread):
    """Calls step() until told to stop; what the server's absence breaks is tried again later."""

    def __init__(self, site, url, queue, history, stop, seed, name):
        super().__init__(daemon=True, name=name)
        self.client = site.client("sqs", url, connect_timeout=2, read_timeout=10)
        self.queue, self.history, self.stop_event = queue, history, stop
        self.rng = random.Random(seed)
        self.count = 0

    def run(self):
        try:
            while not self.stop_event.is_set():
                try:
                    self.step()
                except ERRORS:
                    time.sleep(0.02)  # the server is away
        except Exception as error:  # a mistake of the test must not look like silence
            self.history.wrong("%s ended: %r" % (self.name, error))

    def entries(self, messages, **more):
        return [dict(Id=str(i), ReceiptHandle=m["ReceiptHandle"], **more) for i, m in enumerate(messages)]

    def receive(self, queue, **more):
        h, life, asked_at = self.history, self.history.life, time.monotonic()
        got = self.client.receive_message(QueueUrl=queue, MaxNumberOfMessages=10, VisibilityTimeout=HIDDEN_S,
                                          AttributeNames=["All"], **more).get("Messages", [])
        h.on_received(got, queue, life, asked_at)
        return got

    def delete(self, queue, messages):
        h, bodies = self.history, [m["Body"].rstrip(".") for m in messages]
        with h.lock:
            h.delete_asked.update(bodies)
        if len(messages) == 1:
            self.client.delete_message(QueueUrl=queue, ReceiptHandle=messages[0]["ReceiptHandle"])
            done = bodies
        else:
            answer = self.client.delete_message_batch(QueueUrl=queue, Entries=self.entries(messages))
            done = [bodies[int(e["Id"])] for e in answer.get("Successful", [])]
        with h.lock:
            h.deleted.update(done)

    def change(self, queue, messages):
        h, hidden_s, life = self.history, self.rng.choice([0, 1, 2 * HIDDEN_S]), self.history.life
        asked_at = time.monotonic()
        with h.lock:
            for m in messages:
                h.hidden[m["Body"].rstrip(".")] = (-1, 0)
        answer = self.client.change_message_visibility_batch(
            QueueUrl=queue, Entries=self.entries(messages, VisibilityTimeout=hidden_s))
        with h.lock:
            for e in answer.get("Successful", []):
                h.hidden[messages[int(e["Id"])]["Body"].rstrip(".")] = (life, asked_at + hidden_s)

    def consume(self, queue, messages):
        """Most are deleted, some given back or held longer, some left alone."""
        dice = self.rng.random()
        if messages and dice < 0.75:
            self.delete(queue, messages)
        elif messages and dice < 0.9:
            self.change(queue, messages)


class Standard(Client):
    """Sends and receives, also the dead letters."""

    def step(self):
        h = self.history
        if self.rng.random() < 0.4:
            bodies = ["%s-%d" % (self.name, self.count + i) for i in range(self.rng.randint(1, 10))]
            self.count += len(bodies)
            with h.lock:
                h.attempted.update(bodies)
            answer = self.client.send_message_batch(QueueUrl=self.queue, Entries=[
                {"Id": str(i), "MessageBody": b + "." * self.rng.randint(0, 700),
                 "DelaySeconds": self.rng.choice([0, 0, 0, 1])} for i, b in enumerate(bodies)])
            for e in answer.get("Successful", []):
                h.on_sent(bodies[int(e["Id"])], e["MessageId"], None)
        else:
            queue = self.queue if self.rng.random() < 0.9 else self.queue + "-dead"
            self.consume(queue, self.receive(queue))


class Mover(Client):
    """Moves dead letters back, and now and then changes its mind. (Older SDKs do not know these actions.)"""

    def __init__(self, site, url, *args):
        super().__init__(site, url, *args)
        self.site, self.url = site, url

    def call(self, action, **parameters):
        try:
            return self.site.sqs_json(self.url, action, **parameters)
        except OSError:
            return 0, None, None

    def step(self):
        status, _, task = self.call("StartMessageMoveTask", SourceArn=dead_arn(self.queue),
                                    MaxNumberOfMessagesPerSecond=self.rng.choice([20, 500]))
        self.stop_event.wait(self.rng.random())
        if status == 200 and self.rng.random() < 0.5:
            self.call("CancelMessageMoveTask", TaskHandle=task["TaskHandle"])


class GroupSender(Client):
    """FIFO: one group, in order; what is not acknowledged is sent again as it was."""

    def __init__(self, *args):
        super().__init__(*args)
        self.last, self.again = 0, None

    def step(self):
        h = self.history
        if self.again is None:
            self.again = ["%s-%d" % (self.name, self.count + i) for i in range(self.rng.randint(1, 5))]
            self.count += len(self.again)
            with h.lock:
                h.attempted.update(self.again)
        bodies = self.again
        answer = self.client.send_message_batch(QueueUrl=self.queue, Entries=[
            {"Id": str(i), "MessageBody": b, "MessageGroupId": self.name, "MessageDeduplicationId": b}
            for i, b in enumerate(bodies)])
        done = {int(e["Id"]): e for e in answer.get("Successful", [])}
        for i, e in sorted(done.items()):
            number = int(e["SequenceNumber"])
            h.on_sent(bodies[i], e["MessageId"], number)
            if number <= self.last:
                h.wrong("%s has number %d after %d" % (bodies[i], number, self.last))
            self.last = number
        self.again = None if len(done) == len(bodies) else [b for i, b in enumerate(bodies) if i not in done]


class GroupReceiver(Client):
    def step(self):
        got = self.receive(self.queue)
        self.history.on_group_received([m["Body"] for m in got])
        self.consume(self.queue, got)
