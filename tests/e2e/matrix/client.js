// Node's http, https and http2 as clients: node client.js TRUST_FILE < JOBS. What came of each job is a line of JSON.
'use strict';
const crypto = require('crypto');
const fs = require('fs');
const http = require('http');
const https = require('https');
const http2 = require('http2');
const zlib = require('zlib');

const ca = fs.readFileSync(process.argv[2]);
const sleep = (ms) => new Promise((wake) => setTimeout(wake, ms));
const drained = (stream) => new Promise((go) => {
  const done = () => { stream.off('drain', done).off('close', done); go(); };
  stream.on('drain', done).on('close', done);
});
const decoders = { gzip: zlib.gunzipSync, br: zlib.brotliDecompressSync };

async function send(job, request) {
  if (job.slow_upload) {
    for (let i = 0; i < job.pieces; ++i) {
      request.write(Buffer.alloc(job.upload_size / job.pieces, `${i}`));
      await sleep(100);
    }
  } else if (job.upload) {
    for await (const piece of fs.createReadStream(job.upload, { highWaterMark: 1 << 18 })) {
      if (!request.write(piece)) await drained(request);
    }
  }
  request.end();
}

async function receive(job, stream, result) {
  const pieces = [];
  let [size, moments, last] = [0, 0, 0];
  try {
    for await (const piece of stream) {
      pieces.push(piece);
      size += piece.length;
      if (Date.now() - last > 15) moments += 1;
      last = Date.now();
      if (job.take && size > job.take) return stream.destroy();
      if (job.rate) await sleep(1000 * piece.length / job.rate);
    }
  } finally {
    const wire = Buffer.concat(pieces);
    const body = job.decode && size ? decoders[job.decode](wire) : wire;
    if (!job.take) Object.assign(result, { bytes: size, sha256: crypto.createHash('sha256').update(body).digest('hex') });
    if (job.slow_answer) result.slow = moments > 2;
  }
}

async function overHttp1(job, result) {
  const headers = { ...job.headers };
  if (job.upload && !job.chunked) headers['content-length'] = job.upload_size;
  if (job.expect) headers.expect = '100-continue';
  if (job.send_trailers) headers.trailer = Object.keys(job.send_trailers).join();
  const request = (job.url.startsWith('https:') ? https : http).request(job.url, { method: job.method, headers, ca, agent: false });
  const answered = new Promise((resolve, reject) => { request.on('response', resolve).on('error', reject); });
  if (job.send_trailers) request.addTrailers(job.send_trailers);
  if (job.expect) {
    request.flushHeaders();
    request.on('continue', () => { result.continued = true; send(job, request); });
  } else {
    send(job, request).catch(() => {});
  }
  const response = await answered;
  if (job.expect && !result.continued) request.end();
  Object.assign(result, { status: response.statusCode, headers: response.rawHeaders });
  if (job.follow && response.statusCode === 302) {
    response.resume();
    return overHttp1({ ...job, url: new URL(response.headers.location, job.url).href }, result);
  }
  await receive(job, response, result);
  result.trailers = response.rawTrailers;
}

async function overHttp2(job, result) {
  const url = new URL(job.url);
  const session = http2.connect(url.origin, { ca });
  const failed = new Promise((_, reject) => session.on('error', reject));
  const headers = { ':method': job.method, ':path': url.pathname, ...job.headers };
  // A body that may not be wanted is not announced: HTTP/2 takes one that does not come for an error.
  if (job.upload && !job.chunked && !job.expect) headers['content-length'] = job.upload_size;
  if (job.expect) headers.expect = '100-continue';
  const stream = session.request(headers, { endStream: !job.upload && !job.slow_upload, waitForTrailers: !!job.send_trailers });
  failed.catch(() => {});
  if (job.send_trailers) stream.on('wantTrailers', () => stream.sendTrailers(job.send_trailers));
  const answered = new Promise((resolve, reject) => { stream.on('response', resolve).on('error', reject); });
  stream.on('trailers', (trailers) => { result.trailers = { ...trailers }; });
  if (job.expect) stream.on('continue', () => { result.continued = true; send(job, stream); });
  else if (job.upload || job.slow_upload) send(job, stream).catch(() => {});
  const response = await Promise.race([answered, failed]);
  if (job.expect && !result.continued) stream.end();
  Object.assign(result, { status: response[':status'], headers: { ...response } });
  try {
    if (job.follow && response[':status'] === 302) {
      stream.resume();
      return await overHttp2({ ...job, url: new URL(response.location, job.url).href }, result);
    }
    await receive(job, stream, result);
  } finally {
    session.destroy();
  }
}

async function run(job) {
  const result = { id: job.id };
  try {
    await (job.version === 'h2' ? overHttp2 : overHttp1)(job, result);
  } catch (error) {
    result.error = `${error.code} ${error.message}`;
  }
  console.log(JSON.stringify(result));
}

Promise.all(JSON.parse(fs.readFileSync(0)).map(run)).then(() => process.exit(0));
