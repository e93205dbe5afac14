// sqs-consumer, the usual consumer of Node applications: batches, a handler that fails at first, an extended
// visibility (heartbeat), and its end.
import assert from 'node:assert/strict';
import { CreateQueueCommand, GetQueueAttributesCommand, SendMessageBatchCommand, SQSClient } from '@aws-sdk/client-sqs';
import { Consumer } from 'sqs-consumer';

const sqs = new SQSClient({
  endpoint: process.env.SQS_URL, region: 'us-east-1',
  credentials: { accessKeyId: process.env.KEY, secretAccessKey: process.env.SECRET },
});
const COUNT = 40;
const { QueueUrl } = await sqs.send(new CreateQueueCommand({
  QueueName: 'consumed', Attributes: { VisibilityTimeout: '30' },
}));
for (let i = 0; i < COUNT; i += 10) {
  await sqs.send(new SendMessageBatchCommand({
    QueueUrl, Entries: Array.from({ length: 10 }, (_, k) => ({ Id: `e${k}`, MessageBody: `m${i + k}` })),
  }));
}
const tries = new Map();
const done = new Set();
let errors = 0;

function consumer(extra) {
  return Consumer.create({
    queueUrl: QueueUrl, sqs, waitTimeSeconds: 20, terminateVisibilityTimeout: true, ...extra,
  });
}

async function work(message) {
  const n = (tries.get(message.Body) ?? 0) + 1;
  tries.set(message.Body, n);
  // every fifth fails at first: the consumer puts its visibility to 0, and it comes again at once
  if (n === 1 && Number(message.Body.slice(1)) % 5 === 0) throw new Error('not yet');
  done.add(message.Body);
  return message;
}

const one = consumer({ batchSize: 1, handleMessage: work, heartbeatInterval: 5, visibilityTimeout: 30 });
const ten = consumer({
  batchSize: 10,
  handleMessageBatch: async (batch) => {
    const good = [];
    for (const m of batch) {
      try { good.push(await work(m)); } catch { errors++; }
    }
    // those that failed are put back at once by whoever got them
    if (good.length < batch.length) await putBack(batch.filter((m) => !good.includes(m)));
    return good;
  },
});

async function putBack(messages) {
  const { ChangeMessageVisibilityBatchCommand } = await import('@aws-sdk/client-sqs');
  await sqs.send(new ChangeMessageVisibilityBatchCommand({
    QueueUrl, Entries: messages.map(({ ReceiptHandle }, i) => ({ Id: `${i}`, ReceiptHandle, VisibilityTimeout: 0 })),
  }));
}

await new Promise((resolve, reject) => {
  const limit = setTimeout(() => reject(new Error(`only ${done.size} were done`)), 60000);
  for (const c of [one, ten]) {
    c.on('error', (error) => reject(error));
    c.on('processing_error', () => { errors++; });
    c.on('response_processed', () => { if (done.size === COUNT) { clearTimeout(limit); resolve(); } });
    c.start();
  }
});
for (const c of [one, ten]) {
  const stopped = new Promise((resolve) => { c.on('stopped', resolve); });
  c.stop({ abort: true });
  await stopped;
}
assert.equal(done.size, COUNT);
assert.equal(errors, COUNT / 5);
for (let left = -1, i = 0; left !== 0; i++) {
  assert.ok(i < 100, `${left} messages are left`);
  const { Attributes } = await sqs.send(new GetQueueAttributesCommand({ QueueUrl, AttributeNames: ['All'] }));
  left = Number(Attributes.ApproximateNumberOfMessages) + Number(Attributes.ApproximateNumberOfMessagesNotVisible);
  await new Promise((resolve) => { setTimeout(resolve, 100); });
}
console.log('ok');
