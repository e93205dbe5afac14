// The usual round of an application in JavaScript: AWS SDK v3 (JSON protocol for SQS), against our endpoints.
import assert from 'node:assert/strict';
import { Readable } from 'node:stream';
import {
  ChangeMessageVisibilityCommand, CreateQueueCommand, DeleteMessageBatchCommand, DeleteMessageCommand,
  DeleteQueueCommand, GetQueueAttributesCommand, GetQueueUrlCommand, ListQueuesCommand, PurgeQueueCommand,
  ReceiveMessageCommand, SendMessageBatchCommand, SendMessageCommand, SQSClient,
} from '@aws-sdk/client-sqs';
import {
  CreateBucketCommand, DeleteObjectCommand, GetObjectCommand, HeadBucketCommand, HeadObjectCommand,
  ListBucketsCommand, ListObjectsV2Command, NoSuchKey, PutObjectCommand, S3Client,
} from '@aws-sdk/client-s3';

const credentials = { accessKeyId: process.env.KEY, secretAccessKey: process.env.SECRET };
const region = 'us-east-1';

async function queue() {
  const sqs = new SQSClient({ endpoint: process.env.SQS_URL, region, credentials });
  const { QueueUrl } = await sqs.send(new CreateQueueCommand({
    QueueName: 'js', Attributes: { VisibilityTimeout: '5' },
  }));
  assert.equal((await sqs.send(new GetQueueUrlCommand({ QueueName: 'js' }))).QueueUrl, QueueUrl);
  assert.ok((await sqs.send(new ListQueuesCommand({}))).QueueUrls.includes(QueueUrl));

  await sqs.send(new SendMessageCommand({
    QueueUrl, MessageBody: 'grüße 🐶',
    MessageAttributes: {
      kind: { DataType: 'String', StringValue: 'dog' },
      raw: { DataType: 'Binary', BinaryValue: new Uint8Array([0, 1, 255]) },
    },
  })); // the SDK itself checks the MD5 of body and attributes
  const first = await sqs.send(new ReceiveMessageCommand({
    QueueUrl, WaitTimeSeconds: 5, MessageAttributeNames: ['All'], MessageSystemAttributeNames: ['All'],
  }));
  assert.equal(first.Messages.length, 1);
  const [message] = first.Messages;
  assert.equal(message.Body, 'grüße 🐶');
  assert.equal(message.MessageAttributes.kind.StringValue, 'dog');
  assert.deepEqual([...message.MessageAttributes.raw.BinaryValue], [0, 1, 255]);
  assert.equal(message.Attributes.ApproximateReceiveCount, '1');
  assert.equal((await sqs.send(new ReceiveMessageCommand({ QueueUrl }))).Messages, undefined);
  await sqs.send(new ChangeMessageVisibilityCommand({
    QueueUrl, ReceiptHandle: message.ReceiptHandle, VisibilityTimeout: 0,
  }));
  const again = await sqs.send(new ReceiveMessageCommand({ QueueUrl, WaitTimeSeconds: 5 }));
  await sqs.send(new DeleteMessageCommand({ QueueUrl, ReceiptHandle: again.Messages[0].ReceiptHandle }));

  const sent = await sqs.send(new SendMessageBatchCommand({
    QueueUrl, Entries: Array.from({ length: 10 }, (_, i) => ({ Id: `e${i}`, MessageBody: `m${i}` })),
  }));
  assert.equal(sent.Successful.length, 10);
  const bodies = new Set();
  while (bodies.size < 10) {
    const got = await sqs.send(new ReceiveMessageCommand({
      QueueUrl, MaxNumberOfMessages: 10, WaitTimeSeconds: 2,
    }));
    got.Messages.forEach((m) => bodies.add(m.Body));
    const gone = await sqs.send(new DeleteMessageBatchCommand({
      QueueUrl, Entries: got.Messages.map((m, i) => ({ Id: `d${i}`, ReceiptHandle: m.ReceiptHandle })),
    }));
    assert.equal(gone.Failed, undefined);
  }
  const { Attributes } = await sqs.send(new GetQueueAttributesCommand({ QueueUrl, AttributeNames: ['All'] }));
  assert.equal(Attributes.ApproximateNumberOfMessages, '0');
  assert.equal(Attributes.VisibilityTimeout, '5');

  // a long poll is answered by a message that arrives meanwhile
  const waiting = sqs.send(new ReceiveMessageCommand({ QueueUrl, WaitTimeSeconds: 20 }));
  const begun = Date.now();
  await sqs.send(new SendMessageCommand({ QueueUrl, MessageBody: 'late' }));
  assert.equal((await waiting).Messages[0].Body, 'late');
  assert.ok(Date.now() - begun < 15000, 'woken, not timed out');

  await sqs.send(new PurgeQueueCommand({ QueueUrl }));
  await sqs.send(new DeleteQueueCommand({ QueueUrl }));
  await assert.rejects(sqs.send(new SendMessageCommand({ QueueUrl, MessageBody: 'x' })),
    // the SDK names the error by its query code when x-amzn-query-error is there, as Amazon's is
    (error) => error.Code === 'AWS.SimpleQueueService.NonExistentQueue'
      && error.__type === 'com.amazonaws.sqs#QueueDoesNotExist');
}

async function store() {
  const s3 = new S3Client({ endpoint: process.env.S3_URL, region, credentials, forcePathStyle: true });
  const Bucket = 'js-bucket';
  await s3.send(new CreateBucketCommand({ Bucket }));
  await s3.send(new HeadBucketCommand({ Bucket }));
  assert.ok((await s3.send(new ListBucketsCommand({}))).Buckets.some((b) => b.Name === Bucket));
  const Body = Buffer.alloc(300000, 'smelt');
  await s3.send(new PutObjectCommand({
    Bucket, Key: 'a b/ü.bin', Body, ContentType: 'image/x', Metadata: { kind: 'dog' },
  }));
  const got = await s3.send(new GetObjectCommand({ Bucket, Key: 'a b/ü.bin' }));
  assert.ok(Buffer.from(await got.Body.transformToByteArray()).equals(Body));
  assert.equal(got.ContentType, 'image/x');
  assert.equal(got.Metadata.kind, 'dog');
  const part = await s3.send(new GetObjectCommand({ Bucket, Key: 'a b/ü.bin', Range: 'bytes=5-9' }));
  assert.equal(await part.Body.transformToString(), 'smelt');
  const head = await s3.send(new HeadObjectCommand({ Bucket, Key: 'a b/ü.bin' }));
  assert.equal(head.ContentLength, Body.length);
  await assert.rejects(
    s3.send(new PutObjectCommand({ Bucket, Key: 'a b/ü.bin', Body: 'x', IfNoneMatch: '*' })),
    (error) => error.$metadata.httpStatusCode === 412);
  const list = await s3.send(new ListObjectsV2Command({ Bucket, Prefix: 'a', Delimiter: '/' }));
  assert.deepEqual(list.CommonPrefixes.map((p) => p.Prefix), ['a b/']);
  await s3.send(new DeleteObjectCommand({ Bucket, Key: 'a b/ü.bin' }));
  await assert.rejects(s3.send(new GetObjectCommand({ Bucket, Key: 'a b/ü.bin' })),
    (error) => error instanceof NoSuchKey);
  if (process.env.STREAM === '1') {
    await s3.send(new PutObjectCommand({
      Bucket, Key: 'stream', Body: Readable.from([Buffer.from('one '), Buffer.from('two')]), ContentLength: 7,
    }));
    const text = await (await s3.send(new GetObjectCommand({ Bucket, Key: 'stream' }))).Body.transformToString();
    assert.equal(text, 'one two');
  }
}

await queue();
await store();
console.log('ok');
