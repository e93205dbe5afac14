// Every action of SQS through the AWS SDK for JavaScript v3 (JSON protocol), and the shapes of refusals.
import assert from 'node:assert/strict';
import * as sdk from '@aws-sdk/client-sqs';

const credentials = { accessKeyId: process.env.KEY, secretAccessKey: process.env.SECRET };
const sqs = new sdk.SQSClient({
  endpoint: process.env.SQS_URL, region: 'us-east-1', credentials, maxAttempts: 1,
});
const used = new Set();

function call(name, input) {
  used.add(name);
  return sqs.send(new sdk[`${name}Command`](input));
}

async function refused(name, input, { type, status, code, text }) {
  await assert.rejects(call(name, input), (error) => {
    assert.equal(error.$metadata.httpStatusCode, status, `${name}: ${error}`);
    assert.equal(error.__type, type, name);
    assert.equal(error.Code, code, name);
    if (text !== undefined) assert.equal(error.message, text);
    // this version of the SDK finds the class by the query code, which not every shape shares
    const shape = sdk[code];
    if (shape !== undefined) assert.ok(error instanceof shape, `${name}: not a ${shape.name}`);
    assert.match(error.$metadata.requestId, /^[0-9a-f-]{36}$/);
    return true;
  });
}

const ours = (shape) => `com.amazonaws.sqs#${shape}`;
const simple = (name) => `AWS.SimpleQueueService.${name}`;
const invalid = { type: ours('InvalidParameterValueException'), status: 400, code: 'InvalidParameterValue' };

async function queues() {
  const { QueueUrl } = await call('CreateQueue', {
    QueueName: 'all', Attributes: { VisibilityTimeout: '40' }, tags: { team: 'a', empty: '' },
  });
  assert.equal((await call('GetQueueUrl', { QueueName: 'all' })).QueueUrl, QueueUrl);
  assert.deepEqual((await call('ListQueues', { QueueNamePrefix: 'al' })).QueueUrls, [QueueUrl]);
  assert.equal((await call('ListQueues', { QueueNamePrefix: 'none' })).QueueUrls, undefined);
  await call('SetQueueAttributes', { QueueUrl, Attributes: { DelaySeconds: '0', VisibilityTimeout: '50' } });
  const { Attributes } = await call('GetQueueAttributes', { QueueUrl, AttributeNames: ['All'] });
  assert.equal(Object.keys(Attributes).length, 12);
  assert.equal(Attributes.VisibilityTimeout, '50');
  assert.equal(Attributes.MaximumMessageSize, '1048576');
  assert.equal((await call('GetQueueAttributes', { QueueUrl })).Attributes, undefined);
  await call('TagQueue', { QueueUrl, Tags: { team: 'b', more: 'x' } });
  assert.deepEqual((await call('ListQueueTags', { QueueUrl })).Tags, { team: 'b', empty: '', more: 'x' });
  await call('UntagQueue', { QueueUrl, TagKeys: ['team', 'empty', 'more', 'none'] });
  assert.equal((await call('ListQueueTags', { QueueUrl })).Tags, undefined);
  await call('AddPermission', {
    QueueUrl, Label: 'p', AWSAccountIds: ['111122223333'], Actions: ['SendMessage'],
  });
  const policy = (await call('GetQueueAttributes', { QueueUrl, AttributeNames: ['Policy'] })).Attributes.Policy;
  assert.equal(JSON.parse(policy).Statement[0].Action, 'SQS:SendMessage');
  await call('RemovePermission', { QueueUrl, Label: 'p' });
  return QueueUrl;
}

async function messages(QueueUrl) {
  const sent = await call('SendMessage', {
    QueueUrl, MessageBody: 'one', MessageGroupId: 'tenant',
    MessageAttributes: {
      Hello: { DataType: 'String', StringValue: 'there' }, General: { DataType: 'Number', StringValue: '7' },
    },
    MessageSystemAttributes: { AWSTraceHeader: { DataType: 'String', StringValue: 'Root=1-a-b' } },
  });
  assert.match(sent.MD5OfMessageSystemAttributes, /^[0-9a-f]{32}$/);
  assert.equal(sent.SequenceNumber, undefined);
  // the SDK checks the MD5 of what is returned
  const first = await call('ReceiveMessage', {
    QueueUrl, MessageAttributeNames: ['Hel.*'], MessageSystemAttributeNames: ['All'], WaitTimeSeconds: 5,
  });
  const [m] = first.Messages;
  assert.deepEqual(Object.keys(m.MessageAttributes), ['Hello']);
  assert.equal(m.Attributes.MessageGroupId, 'tenant');
  assert.equal(m.Attributes.AWSTraceHeader, 'Root=1-a-b');
  await call('ChangeMessageVisibility', { QueueUrl, ReceiptHandle: m.ReceiptHandle, VisibilityTimeout: 0 });
  const again = await call('ReceiveMessage', { QueueUrl, WaitTimeSeconds: 5 });
  const changed = await call('ChangeMessageVisibilityBatch', {
    QueueUrl, Entries: [
      { Id: 'good', ReceiptHandle: again.Messages[0].ReceiptHandle, VisibilityTimeout: 100 },
      { Id: 'bad', ReceiptHandle: 'garbage', VisibilityTimeout: 100 }],
  });
  assert.equal(changed.Successful[0].Id, 'good');
  assert.deepEqual(changed.Failed, [{
    Id: 'bad', SenderFault: true, Code: 'ReceiptHandleIsInvalid',
    Message: 'The input receipt handle "garbage" is not a valid receipt handle.',
  }]);
  await call('DeleteMessage', { QueueUrl, ReceiptHandle: again.Messages[0].ReceiptHandle });
  await call('DeleteMessage', { QueueUrl, ReceiptHandle: again.Messages[0].ReceiptHandle });
  const batch = await call('SendMessageBatch', {
    QueueUrl, Entries: [{ Id: 'a', MessageBody: 'a' }, { Id: 'b', MessageBody: 'b', DelaySeconds: 901 }],
  });
  assert.equal(batch.Successful.length, 1);
  assert.equal(batch.Failed[0].Code, 'InvalidParameterValue');
  const got = await call('ReceiveMessage', { QueueUrl, MaxNumberOfMessages: 10, WaitTimeSeconds: 5 });
  const gone = await call('DeleteMessageBatch', {
    QueueUrl, Entries: got.Messages.map(({ ReceiptHandle }) => ({ Id: 'x', ReceiptHandle })),
  });
  assert.equal(gone.Successful.length, 1);
}

async function dead_letters() {
  const dead = (await call('CreateQueue', { QueueName: 'dead' })).QueueUrl;
  const SourceArn = (await call('GetQueueAttributes', {
    QueueUrl: dead, AttributeNames: ['QueueArn'],
  })).Attributes.QueueArn;
  const jobs = (await call('CreateQueue', {
    QueueName: 'jobs', Attributes: {
      VisibilityTimeout: '0', RedrivePolicy: JSON.stringify({ deadLetterTargetArn: SourceArn, maxReceiveCount: 1 }),
    },
  })).QueueUrl;
  assert.deepEqual((await call('ListDeadLetterSourceQueues', { QueueUrl: dead })).queueUrls, [jobs]);
  for (let i = 0; i < 3; i++) await call('SendMessage', { QueueUrl: jobs, MessageBody: `m${i}` });
  for (let i = 0; i < 6; i++) await call('ReceiveMessage', { QueueUrl: jobs });
  const { TaskHandle } = await call('StartMessageMoveTask', { SourceArn, MaxNumberOfMessagesPerSecond: 1 });
  assert.equal(JSON.parse(Buffer.from(TaskHandle, 'base64')).sourceArn, SourceArn);
  const [task] = (await call('ListMessageMoveTasks', { SourceArn, MaxResults: 10 })).Results;
  assert.equal(task.Status, 'RUNNING');
  assert.equal(task.TaskHandle, TaskHandle);
  assert.equal(task.MaxNumberOfMessagesPerSecond, 1);
  assert.ok(Math.abs(task.StartedTimestamp - Date.now()) < 600000, 'milliseconds');
  await refused('StartMessageMoveTask', { SourceArn }, {
    ...invalid, text: 'There is already a task running. Only one active task is allowed for a source queue arn at a '
      + 'given time.',
  });
  const cancelled = await call('CancelMessageMoveTask', { TaskHandle });
  assert.equal(typeof cancelled.ApproximateNumberOfMessagesMoved, 'number');
  await refused('CancelMessageMoveTask', { TaskHandle }, {
    type: ours('ResourceNotFoundException'), status: 404, code: 'ResourceNotFoundException',
    text: 'Task does not exist.',
  });
  await refused('StartMessageMoveTask', { SourceArn: `${SourceArn}x` }, {
    type: ours('ResourceNotFoundException'), status: 404, code: 'ResourceNotFoundException',
    text: "The resource that you specified for the SourceArn parameter doesn't exist.",
  });
}

async function refusals(QueueUrl) {
  const entry = (Id) => ({ Id, MessageBody: 'x' });
  const batch = (shape, Entries) => refused('SendMessageBatch', { QueueUrl, Entries },
    { type: ours(shape), status: 400, code: simple(shape) });
  await refused('SendMessage', { QueueUrl: `${QueueUrl}x`, MessageBody: 'x' }, {
    type: ours('QueueDoesNotExist'), status: 400, code: simple('NonExistentQueue'),
    text: 'The specified queue does not exist.',
  });
  await refused('CreateQueue', { QueueName: 'all', Attributes: { DelaySeconds: '9' } }, {
    type: ours('QueueNameExists'), status: 400, code: 'QueueAlreadyExists',
    text: 'A queue already exists with the same name and a different value for attribute DelaySeconds',
  });
  await batch('EmptyBatchRequest', []);
  await batch('TooManyEntriesInBatchRequest', Array.from({ length: 11 }, (_, i) => entry(`${i}`)));
  await batch('BatchEntryIdsNotDistinct', [entry('a'), entry('a')]);
  await batch('InvalidBatchEntryId', [entry('a b')]);
  await refused('SendMessageBatch', {
    QueueUrl, Entries: [{ Id: 'a', MessageBody: 'x'.repeat(1048576) }, entry('b')],
  }, {
    type: ours('BatchRequestTooLong'), status: 400, code: simple('BatchRequestTooLong'),
    text: 'Batch requests cannot be longer than 1048576 bytes. You have sent 1048577 bytes.',
  });
  await refused('SendMessage', { QueueUrl, MessageBody: '\u0001' },
    { type: ours('InvalidMessageContents'), status: 400, code: 'InvalidMessageContents' });
  await refused('SendMessage', { QueueUrl, MessageBody: '' }, {
    type: 'com.amazon.coral.service#MissingRequiredParameterException', status: 400, code: 'MissingParameter',
    text: 'The request must contain the parameter MessageBody.',
  });
  await refused('ReceiveMessage', { QueueUrl, MaxNumberOfMessages: 11 }, {
    ...invalid, text: 'Value 11 for parameter MaxNumberOfMessages is invalid. Reason: Must be between 1 and 10, if '
      + 'provided.',
  });
  await refused('DeleteMessage', { QueueUrl, ReceiptHandle: 'garbage' },
    { type: ours('ReceiptHandleIsInvalid'), status: 404, code: 'ReceiptHandleIsInvalid' });
  await refused('GetQueueAttributes', { QueueUrl, AttributeNames: ['Foobar'] }, {
    type: ours('InvalidAttributeName'), status: 400, code: 'InvalidAttributeName',
    text: 'Unknown Attribute Foobar.',
  });
  await refused('SetQueueAttributes', { QueueUrl, Attributes: { VisibilityTimeout: '43201' } },
    { type: ours('InvalidAttributeValue'), status: 400, code: 'InvalidAttributeValue' });
  await refused('AddPermission', {
    QueueUrl, Label: 'l', AWSAccountIds: ['111122223333'],
    Actions: ['SendMessage', 'ReceiveMessage', 'DeleteMessage', 'GetQueueUrl', 'PurgeQueue',
      'GetQueueAttributes', 'ChangeMessageVisibility', 'ListDeadLetterSourceQueues'],
  }, { type: ours('OverLimit'), status: 403, code: 'OverLimit' });
  await call('PurgeQueue', { QueueUrl });
  await refused('PurgeQueue', { QueueUrl }, {
    type: ours('PurgeQueueInProgress'), status: 403, code: simple('PurgeQueueInProgress'),
    text: 'Only one PurgeQueue operation on all is allowed every 60 seconds.',
  });
  await call('DeleteQueue', { QueueUrl });
  await refused('CreateQueue', { QueueName: 'all' }, {
    type: ours('QueueDeletedRecently'), status: 400, code: simple('QueueDeletedRecently'),
    text: 'You must wait 60 seconds after deleting a queue before you can create another with the same name.',
  });
}

async function signatures() {
  const wrong = new sdk.SQSClient({
    endpoint: process.env.SQS_URL, region: 'us-east-1', maxAttempts: 1,
    credentials: { ...credentials, secretAccessKey: 'wrong' },
  });
  await assert.rejects(wrong.send(new sdk.ListQueuesCommand({})), (error) => (
    error.$metadata.httpStatusCode === 403 && error.Code === 'SignatureDoesNotMatch'));
}

const QueueUrl = await queues();
await messages(QueueUrl);
await dead_letters();
await refusals(QueueUrl);
await signatures();
const all = Object.keys(sdk).filter((name) => /^[A-Z]\w+Command$/.test(name)).map((name) => name.slice(0, -7));
assert.equal(all.length, 23);
assert.deepEqual(all.filter((name) => !used.has(name)), [], 'every action was called');
console.log('ok');
