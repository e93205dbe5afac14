// The page of smelt: takes pictures, posts each as a job, waits, and says what came back.
// No framework; what the server sends is only ever set as text.
'use strict';

const AT_ONCE = 4;              // requests in flight: browsers open six connections to a host
const WAIT_S = 25;              // per request; a job that takes longer is asked for again
const TRIES = 5;                // of a request that breaks or is refused for now
const PICTURES_MAX = 500;       // cards on the page
const THUMB_SIDE = 720;         // pixels

let pictureBytesMax = 32 << 20; // told by /v1/models
const byId = (id) => document.getElementById(id);
const queue = [];               // pictures not yet sent
let running = 0;
const tally = { total: 0, done: 0, failed: 0 };

// --- words ---

const percent = (share) => {
  const value = share * 100;
  if (value > 0 && value < 1) return '<1\u00a0%';
  return `${value > 99 && value < 100 ? 99 : Math.round(value)}\u00a0%`;
};
const plain = (label) => String(label).replaceAll('_', ' ');
const withArticle = (noun) => (/^[aeiou]/i.test(noun) ? 'An ' : 'A ') + noun;
const joined = (words, last) =>
  words.length < 2 ? words.join('') : `${words.slice(0, -1).join(', ')} ${last} ${words.at(-1)}`;
const milliseconds = (ms) =>
  ms >= 10000 ? `${(ms / 1000).toFixed(1)}\u00a0s` : ms >= 10 ? `${Math.round(ms)}\u00a0ms` : `${ms.toFixed(1)}\u00a0ms`;

// The answer as { lead, rest, share, yes }: "A dog:" "poodle" 0.97; "No dog here:" "cat face" 0.97.
function sentence(result) {
  const best = result.predictions?.[0];
  const groups = Object.entries(result.groups ?? {});
  const present = groups.filter(([, group]) => group.present).map(([name]) => plain(name));
  const rest = best ? plain(best.label) : '';
  const share = best?.score ?? 0;
  if (present.length > 0)
    return { lead: `${joined(present.map((name, i) => i ? withArticle(name).toLowerCase() : withArticle(name)), 'and')}:`,
             rest: share < 0.5 ? `perhaps ${rest}` : rest, share, yes: true };
  const absent = groups.length > 0 ? `No ${joined(groups.map(([name]) => plain(name)), 'or')} here:` : '';
  if (share < 0.5)
    return { lead: absent, rest: `not sure, perhaps ${rest}`, share, yes: false };
  return { lead: absent, rest, share, yes: false };
}

const FAILURES = {
  format: 'Not a picture that can be read',
  unsupported: 'This kind of picture is not supported',
  limit: 'This picture is too large',
  too_large: 'This picture is too large',
  empty: 'This file is empty',
  timeout: 'This took too long',
};

// --- a card ---

function makeCard(picture) {
  const card = byId('card').content.firstElementChild.cloneNode(true);
  const part = (selector) => card.querySelector(selector);
  const heading = part('.answer');
  heading.id = `answer-${picture.number}`;
  card.setAttribute('aria-labelledby', heading.id);
  part('.file').textContent = picture.name;
  part('.file').title = picture.name;
  part('.again').addEventListener('click', () => { send(picture); card.focus(); });
  picture.card = card;
  picture.part = part;
  byId('grid').prepend(card);
  drawThumb(picture);
}

async function drawThumb(picture) {
  try {
    const full = await createImageBitmap(picture.file);
    const scale = Math.min(1, THUMB_SIDE / Math.max(full.width, full.height));
    const canvas = document.createElement('canvas');
    canvas.width = Math.max(1, Math.round(full.width * scale));
    canvas.height = Math.max(1, Math.round(full.height * scale));
    const context = canvas.getContext('2d');
    context.imageSmoothingQuality = 'high';
    context.drawImage(full, 0, 0, canvas.width, canvas.height);
    full.close();
    canvas.setAttribute('role', 'img');
    canvas.setAttribute('aria-label', picture.name);
    picture.part('.thumb').replaceChildren(canvas);
    picture.part('.thumb').classList.remove('blank');
  } catch {
    // the browser cannot show it; the answer will say what it is
  }
}

function showState(picture, state, text) {
  picture.card.className = `card ${state}`;
  picture.part('.answer').textContent = text;
  picture.card.setAttribute('aria-busy', String(state.startsWith('waiting')));
}

// What a program of the user's answered: of any form.
function showObject(picture, result) {
  const text = JSON.stringify(result);
  picture.part('.answer').textContent = text.length > 300 ? `${text.slice(0, 300)}…` : text;
}

function showAnswer(picture, job) {
  const { lead, rest, share, yes } = sentence(job.result);
  picture.card.className = 'card';
  picture.card.setAttribute('aria-busy', 'false');
  const heading = picture.part('.answer');
  heading.classList.toggle('yes', yes);
  const bold = document.createElement('b');
  bold.textContent = lead || rest;
  const small = document.createElement('span');
  small.className = 'share';
  small.textContent = percent(share);
  heading.replaceChildren(bold, ...(lead ? [` ${rest}, `] : [', ']), small);
  if (!job.result.predictions?.length)
    showObject(picture, job.result);
  showBars(picture, job.result.predictions ?? []);
  showTimes(picture, job.timing_ms ?? {});
  speak(`${picture.name}: ${heading.textContent}`);
}

function showBars(picture, predictions) {
  const list = picture.part('.bars');
  list.replaceChildren(...predictions.slice(0, 5).map(({ label, score }) => {
    const row = document.createElement('li');
    const name = row.appendChild(document.createElement('span'));
    name.className = 'label';
    name.textContent = plain(label);
    const share = row.appendChild(document.createElement('span'));
    share.className = 'share';
    share.textContent = percent(score);
    const track = row.appendChild(document.createElement('span'));
    track.className = 'track';
    track.setAttribute('aria-hidden', 'true');
    track.appendChild(document.createElement('i')).style.setProperty('--share', Math.min(1, Math.max(0, score)));
    return row;
  }));
  list.hidden = predictions.length === 0;
}

const PHASES = ['queued', 'fetched', 'decoded', 'inferred'];

function showTimes(picture, timing) {
  const times = picture.part('.times');
  const spans = PHASES.filter((phase) => timing[phase] >= 0).map((phase) => [phase, phase, timing[phase]]);
  const spent = spans.reduce((sum, [, , ms]) => sum + ms, 0);
  if (timing.total > spent) // store, queue and network on the way
    spans.push(['transit', 'in transit', timing.total - spent]);
  times.querySelector('.times-bar').replaceChildren(...spans.map(([name, , ms]) => {
    const segment = document.createElement('i');
    segment.className = name;
    segment.style.setProperty('--share', Math.max(ms, 0.01));
    return segment;
  }));
  const rows = timing.total >= 0 ? [...spans, ['total', 'total', timing.total]] : spans;
  times.querySelector('dl').replaceChildren(...rows.map(([name, label, ms]) => {
    const row = document.createElement('div');
    row.className = name;
    row.appendChild(document.createElement('dt')).textContent = label;
    row.appendChild(document.createElement('dd')).textContent = milliseconds(ms);
    return row;
  }));
  times.hidden = rows.length === 0;
}

function showFailure(picture, code, message, mayRetry) {
  picture.card.className = 'card failed';
  picture.card.setAttribute('aria-busy', 'false');
  picture.part('.answer').textContent = FAILURES[code] ?? 'No answer';
  const error = picture.part('.error');
  error.textContent = message.charAt(0).toUpperCase() + message.slice(1);
  error.hidden = false;
  picture.part('.again').hidden = !mayRetry;
  speak(`${picture.name}: ${picture.part('.answer').textContent}. ${message}`);
}

const spoken = [];
function speak(text) { // a screen reader hears what came in together as one announcement
  spoken.push(text);
  if (spoken.length === 1)
    setTimeout(() => {
      byId('spoken').textContent = spoken.length > 3 ? `${spoken.length} more answers` : spoken.join('. ');
      spoken.length = 0;
    }, 400);
}

function showTally() {
  const waiting = tally.total - tally.done - tally.failed;
  const parts = [`${tally.done} of ${tally.total} done`];
  if (waiting > 0) parts.push(`${waiting} under way`);
  if (tally.failed > 0) parts.push(`${tally.failed} failed`);
  byId('tally').textContent = parts.join(' · ');
  byId('results').hidden = tally.total === 0;
  document.body.classList.toggle('compact', tally.total > 0);
  document.title = waiting > 0 ? `(${waiting}) smelt` : 'smelt';
}

// --- talking to the gateway ---

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

class Refusal extends Error {
  constructor(code, message, mayRetry) {
    super(message);
    this.code = code;
    this.mayRetry = mayRetry;
  }
}

// One request, tried again while the gateway is away or busy. The Idempotency-Key makes that safe.
async function ask(url, options) {
  for (let attempt = 1; ; attempt++) {
    let answer;
    try {
      answer = await fetch(url, options);
    } catch {
      if (attempt === TRIES)
        throw new Refusal('away', 'The server cannot be reached. Is smelt still running?', true);
      await pause(250 * 2 ** attempt * (0.5 + Math.random()));
      continue;
    }
    const body = await answer.json().catch(() => null);
    if (answer.ok && body) return body;
    const error = body?.error ?? { code: 'odd', message: `The server answered ${answer.status}.` };
    const later = answer.status === 429 || answer.status === 503;
    if (!later || attempt === TRIES) throw new Refusal(error.code, error.message, later);
    await pause(1000 * Number(answer.headers.get('Retry-After') || 1) * (0.75 + Math.random() / 2));
  }
}

async function work(picture) {
  showState(picture, 'waiting sent', 'on its way …');
  let job = await ask(`/v1/jobs?wait=${WAIT_S}`, {
    method: 'POST',
    body: picture.file,
    headers: { 'Content-Type': 'application/octet-stream', 'Idempotency-Key': picture.key },
  });
  while (job.status === 'queued') {
    showState(picture, 'waiting sent', 'queued, waiting for a free process …');
    job = await ask(`/v1/jobs/${job.id}?wait=${WAIT_S}`);
  }
  if (job.status !== 'succeeded')
    throw new Refusal(job.error?.code ?? job.status, job.error?.message ?? `The job has ${job.status}.`, false);
  return job;
}

async function run(picture) {
  running++;
  try {
    const job = await work(picture);
    tally.done++;
    showAnswer(picture, job);
  } catch (problem) {
    tally.failed++;
    picture.failed = true;
    showFailure(picture, problem.code, problem.message, problem.mayRetry === true);
  }
  running--;
  showTally();
  next();
}

function next() {
  while (running < AT_ONCE && queue.length > 0)
    run(queue.shift());
}

function send(picture) {
  if (picture.failed) {
    tally.failed--;
    picture.failed = false;
  }
  picture.part('.error').hidden = true;
  picture.part('.again').hidden = true;
  showState(picture, 'waiting', 'waiting to be sent');
  queue.push(picture);
  showTally();
  next();
}

// --- taking pictures in ---

let number = 0;
const randomKey = () =>
  Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('');

function hint(text, bad) {
  byId('hint').textContent = text;
  byId('hint').classList.toggle('bad', Boolean(bad));
  if (bad) speak(text);
}

function take(files) {
  const room = PICTURES_MAX - tally.total;
  if (files.length > room)
    hint(`The page holds ${PICTURES_MAX} pictures; ${files.length - room} were left out. Clear it, or use smelt submit.`, true);
  for (const file of files.slice(0, room)) {
    const picture = { number: ++number, file, name: file.name || 'picture', key: randomKey() };
    tally.total++;
    makeCard(picture);
    if (file.size > pictureBytesMax || file.size === 0) {
      tally.failed++;
      picture.failed = true;
      if (file.size === 0)
        showFailure(picture, 'empty', 'It has no bytes. Choose another one.', false);
      else
        showFailure(picture, 'too_large', `It has ${(file.size / 1048576).toFixed(1)} MB, the limit is ${pictureBytesMax >> 20} MB.`, false);
    } else {
      send(picture);
    }
  }
  showTally();
}

function takeFrom(input) {
  input.addEventListener('change', () => {
    take([...input.files]);
    input.value = '';
  });
}

function listenForDrops() {
  let depth = 0; // dragenter and dragleave come for every element on the way
  const dragging = (on) => document.body.classList.toggle('dragging', on);
  addEventListener('dragenter', (event) => { event.preventDefault(); depth++; dragging(true); });
  addEventListener('dragleave', () => { depth = Math.max(0, depth - 1); dragging(depth > 0); });
  addEventListener('dragover', (event) => event.preventDefault());
  addEventListener('drop', (event) => {
    event.preventDefault();
    depth = 0;
    dragging(false);
    const files = [...(event.dataTransfer?.files ?? [])];
    if (files.length > 0) take(files);
    else hint('That was not a file. Save the picture first, then drop it here.', true);
  });
  addEventListener('paste', (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (files.length > 0) take(files);
  });
}

function clearFinished() {
  for (const card of [...byId('grid').children])
    if (card.getAttribute('aria-busy') !== 'true') card.remove();
  tally.total -= tally.done + tally.failed;
  tally.done = tally.failed = 0;
  showTally();
  byId('choose').focus();
}

async function introduce() {
  try {
    const { models, limits } = await ask('/v1/models');
    const model = models.find((each) => each.default) ?? models[0];
    pictureBytesMax = limits?.picture_bytes ?? pictureBytesMax;
    byId('model-name').textContent = `model: ${model.name}`;
    if (model.description) byId('about').textContent = model.description;
    hint(`JPEG, PNG or WebP, up to ${pictureBytesMax >> 20} MB each`);
  } catch {
    byId('model-name').textContent = 'not reachable';
    byId('dot').classList.add('off');
  }
  byId('model').hidden = false;
}

byId('choose').addEventListener('click', () => byId('files').click());
byId('take').addEventListener('click', () => byId('camera').click());
byId('take').hidden = !matchMedia('(pointer: coarse)').matches;
byId('clear').addEventListener('click', clearFinished);
byId('curl').textContent = `curl -F file=@picture.jpg '${location.origin}/v1/jobs?wait=10'`;
takeFrom(byId('files'));
takeFrom(byId('camera'));
listenForDrops();
introduce();
