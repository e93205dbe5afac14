"""sqs, s3 and worker on one data directory, for the tests of the pool."""
import json
import re

import smelt


class Pool:
    def __init__(self, site, *args, environment=None):
        self.site = site
        self.sqs_role, self.s3_role = site.role("sqs"), site.role("s3")
        self.sqs = site.client("sqs", self.sqs_role.url)
        self.s3 = site.client("s3", self.s3_role.url)
        self.worker = site.role("worker", "--sqs-endpoint", self.sqs_role.url, "--s3-endpoint",
                                self.s3_role.url, "--worker-listen", "127.0.0.1:0", *args,
                                environment=environment)
        self.jobs = self.sqs.get_queue_url(QueueName="smelt-jobs")["QueueUrl"]

    def submit(self, job_id, picture, model="", **more):
        key = "inbox/" + job_id
        self.s3.put_object(Bucket="smelt", Key=key, Body=picture)
        self.sqs.send_message(QueueUrl=self.jobs, MessageBody=json.dumps(
            {"v": 1, "id": job_id, "model": model, "input": {"bucket": "smelt", "key": key}, **more}))

    def find(self, job_id):
        try:
            got = self.s3.get_object(Bucket="smelt", Key="results/%s.json" % job_id)
        except self.s3.exceptions.NoSuchKey:
            return None
        return json.loads(got["Body"].read())

    def result(self, job_id, timeout_s=60):
        return smelt.wait_until(lambda: self.find(job_id), timeout_s, "the result of " + job_id)

    def metric(self, name):
        text = smelt.http("GET", self.worker.url + "/metrics")[2].decode()
        return float(re.search("^%s (.*)$" % re.escape(name), text, re.M).group(1))

    def ready_text(self):
        return smelt.http("GET", self.worker.url + "/readyz")[2].decode()

    def zygotes(self):
        return [p for p in smelt.children_of(self.worker.pid)
                if smelt.command_line(p)[1:2] == ["zygote"] and smelt.parent_of(p) == self.worker.pid]

    def children(self):
        return [p for z in self.zygotes() for p in smelt.children_of(z)]

    def messages(self):
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        got = self.sqs.get_queue_attributes(QueueUrl=self.jobs, AttributeNames=names)["Attributes"]
        return tuple(int(got[n]) for n in names)
