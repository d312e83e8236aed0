// The origin for what nginx cannot do, over HTTP/1.1 and HTTP/2: trailers, 100 and 417, brotli, pauses, ends in the middle, git.
// node origin.js CONFIG: {"log", "key", "cert", "repositories", "reports", "h1", "h2", "plain"} (the last three are ports).
// A URL is /ID/RESOURCE; ID is the cell that asks, RESOURCE one of the functions below. What came of each request is a line of the log.
'use strict';
const { spawn } = require('child_process');
const crypto = require('crypto');
const fs = require('fs');
const http = require('http');
const https = require('https');
const http2 = require('http2');
const zlib = require('zlib');

const config = JSON.parse(process.argv[2]);
const log = fs.openSync(config.log, 'a');
const sleep = (ms) => new Promise((wake) => setTimeout(wake, ms));
const drained = (stream) => new Promise((go) => {
  const done = () => { stream.off('drain', done).off('close', done); go(); };
  stream.on('drain', done).on('close', done);
});
const filler = (size, seed) => Buffer.alloc(size, `${seed} It passes as it was sent.\n`);

const connections = new Map();  // by the client's port: TCP, below TLS

// A response that is counted. Its end is seen by `finish`; a connection that is lost before, by `close`.
class Exchange {
  constructor(req, res) {
    [this.req, this.res, this.received, this.sent, this.hash] = [req, res, 0, 0, crypto.createHash('sha256')];
    [this.finished, this.aborted, this.bursts, this.last] = [false, false, 0, 0];
    const [, id, resource] = req.url.split('?')[0].split('/');
    Object.assign(this, { id, resource });
    res.on('finish', () => { this.finished = true; });
    req.on('aborted', () => { this.aborted = true; });
    req.on('error', () => { this.aborted = true; });
    res.on('error', () => { this.aborted = true; });
    res.on('close', () => this.record());
  }

  connection() { return connections.get((this.req.stream ? this.req.stream.session : this.req).socket.remotePort); }

  gone() { return this.aborted || this.res.destroyed || (this.res.stream && this.res.stream.destroyed); }

  async body() {
    for await (const piece of this.req) {
      this.received += piece.length;
      if (!this.recorded) this.hash.update(piece);
      if (Date.now() - this.last > 15) this.bursts += 1;  // pieces that come one by one, as a slow sender sends them
      this.last = Date.now();
    }
  }

  head(status, headers) {
    this.res.writeHead(status, { 'content-type': 'application/octet-stream', 'X-Answer': `${this.id} by node`, ...headers });
  }

  async write(data) {
    this.sent += data.length;
    if (!this.res.write(data) && !this.gone()) await drained(this.res);
  }

  async answer(status, data, headers) {
    this.head(status, headers);
    if (this.req.method !== 'HEAD') await this.write(data);
    this.res.end();
  }

  record(complete = this.finished && !this.aborted) {
    if (this.recorded) return;
    this.recorded = true;
    fs.writeSync(log, JSON.stringify({
      id: this.id, method: this.req.method, path: this.req.url, version: this.req.httpVersion, headers: this.req.rawHeaders,
      trailers: this.req.rawTrailers, status: this.res.statusCode, received: this.received, sha256: this.hash.digest('hex'),
      sent: this.sent, slow: this.bursts > 2, complete,
    }) + '\n');
  }

  cut() {  // the connection ends: FIN, without close_notify
    this.connection().destroy();  // that of a session cannot be destroyed but with a GOAWAY before
  }

  reset() {
    if (this.req.stream) this.req.stream.close(http2.constants.NGHTTP2_INTERNAL_ERROR);
    else this.connection().resetAndDestroy();
  }
}

const resources = {
  async chunks(exchange) {
    exchange.head(200);
    for (let i = 0; i < 200; ++i) await exchange.write(filler(1 + i * 37, i));
    exchange.res.end();
  },

  async put(exchange) {
    await exchange.body();
    const text = JSON.stringify({ received: exchange.received, trailers: exchange.req.rawTrailers });
    await exchange.answer(201, Buffer.from(text), { 'content-length': text.length });
  },

  async refuse(exchange) {
    await exchange.answer(417, Buffer.from('no\n'), { 'content-length': 3 });
    exchange.record(true);  // who is refused may leave with half a body sent, and of some of these Node 20 never says that they are gone
    if (exchange.req.stream) await exchange.body();  // from a client that does not wait; Node would reset the stream
  },

  async br(exchange) {
    const packed = zlib.brotliCompressSync(filler(500000, 'br'));
    await exchange.answer(200, packed, { 'content-encoding': 'br', 'content-length': packed.length });
  },

  async trailers(exchange) {
    exchange.head(200, exchange.req.stream ? {} : { trailer: 'x-check' });
    await exchange.write(filler(5000, 'trailers'));
    exchange.res.addTrailers({ 'x-check': '42' });
    exchange.res.end();
  },

  async endless(exchange) {
    exchange.head(200);
    while (!exchange.gone()) {
      await exchange.write(filler(32768, 'endless'));
      await sleep(10);
    }
  },

  async partly(exchange, how) {
    exchange.head(200, { 'content-length': 1000000 });
    await exchange.write(filler(100000, how));
    await sleep(1500);  // what was sent is read by then: a reset takes what is not
    exchange[how]();
  },
  cut(exchange) { return resources.partly(exchange, 'cut'); },
  reset(exchange) { return resources.partly(exchange, 'reset'); },

  async trickle(exchange) {
    exchange.head(200);
    for (let i = 0; i < 16; ++i) {
      await exchange.write(filler(1000, i));
      await sleep(100);
    }
    exchange.res.end();
  },

  // The page that makes a browser a client, and where it leaves what came of it.
  async page(exchange) {
    await exchange.answer(200, fs.readFileSync(`${__dirname}/page.html`), { 'content-type': 'text/html' });
  },
  async report(exchange) {
    const path = `${config.reports}/${exchange.id}`;
    const pieces = [];
    for await (const piece of exchange.req) pieces.push(piece);
    fs.writeFileSync(`${path}.part`, Buffer.concat(pieces));
    fs.renameSync(`${path}.part`, path);
    await exchange.answer(204, Buffer.alloc(0));
  },

  // Smart HTTP by git's own CGI program. The cell in the ID says how the answer is sent.
  async git(exchange) {
    const [path, query] = exchange.req.url.split('?');
    const parts = path.split('/').slice(3);
    const cell = exchange.id.split('-').pop();
    if (parts[0] === 'moved.git') {
      const where = exchange.req.url.replace('moved.git', 'small.git');
      return exchange.answer(302, Buffer.alloc(0), { location: where, 'content-length': 0 });
    }
    const headers = exchange.req.headers;
    const backend = spawn('git', ['http-backend'], { env: {
      PATH: process.env.PATH, GIT_PROJECT_ROOT: config.repositories, GIT_HTTP_EXPORT_ALL: '1', GIT_CONFIG_COUNT: '1',
      GIT_CONFIG_KEY_0: 'safe.directory', GIT_CONFIG_VALUE_0: '*', PATH_INFO: '/' + parts.join('/'), QUERY_STRING: query || '',
      REQUEST_METHOD: exchange.req.method, CONTENT_TYPE: headers['content-type'] || '', GIT_PROTOCOL: headers['git-protocol'] || '',
      HTTP_CONTENT_ENCODING: headers['content-encoding'] || '', REMOTE_USER: 'e2e', REMOTE_ADDR: '192.0.2.1',
    }, stdio: ['pipe', 'pipe', 'ignore'] });
    backend.stdin.on('error', () => {});
    const output = (async () => { const all = []; for await (const piece of backend.stdout) all.push(piece); return Buffer.concat(all); })();
    for await (const piece of exchange.req) {
      exchange.received += piece.length;
      exchange.hash.update(piece);
      if (!backend.stdin.write(piece)) await drained(backend.stdin);
    }
    backend.stdin.end();
    const said = await output;
    const end = said.indexOf('\r\n\r\n');
    const fields = Object.fromEntries(said.subarray(0, end).toString().split('\r\n').map((line) => line.split(': ')));
    const status = parseInt(fields.Status || '200', 10);
    delete fields.Status;
    await gitAnswer(exchange, cell, path.endsWith('/git-upload-pack'), status, fields, said.subarray(end + 4));
  },
};

async function gitAnswer(exchange, cell, pack, status, fields, body) {
  if (cell === 'gzip' || cell === 'br') {
    const packed = cell === 'gzip' ? zlib.gzipSync(body) : zlib.brotliCompressSync(body);
    return exchange.answer(status, packed, { ...fields, 'content-encoding': cell });
  }
  if (!pack || !['slow_server', 'server_abort', 'server_reset', 'client_abort'].includes(cell)) return exchange.answer(status, body, fields);
  exchange.head(status, fields);
  if (cell === 'slow_server') {
    const size = Math.ceil(body.length / 16);
    for (let at = 0; at < body.length; at += size) {
      await exchange.write(body.subarray(at, at + size));
      await sleep(100);
    }
    return exchange.res.end();
  }
  await exchange.write(body.subarray(0, body.length / 2));
  await sleep(1500);
  if (cell === 'client_abort') while (!exchange.gone()) await sleep(20);  // says nothing more until git has had enough
  else exchange[cell === 'server_abort' ? 'cut' : 'reset']();
}

function serve(req, res) {
  const exchange = new Exchange(req, res);
  const resource = resources[exchange.resource];
  if (!resource) return exchange.answer(404, Buffer.from('no such resource\n'));
  resource(exchange).catch((error) => { if (!exchange.gone()) console.error(req.url, error); });
}

function expecting(req, res) {
  if (!req.url.endsWith('/refuse')) res.writeContinue();
  serve(req, res);
}

const keys = { key: fs.readFileSync(config.key), cert: fs.readFileSync(config.cert) };
const servers = [[http.createServer(), config.plain], [https.createServer(keys), config.h1], [http2.createSecureServer(keys), config.h2]];
for (const [server, port] of servers) {
  // Java writes 100-Continue, which Node does not take for 100-continue in HTTP/2.
  server.on('request', serve).on('checkContinue', expecting).on('checkExpectation', expecting).on('sessionError', () => {}).on('clientError', (_, socket) => socket.destroy());
  server.on('connection', (socket) => {
    const key = socket.remotePort;
    connections.set(key, socket);
    socket.on('close', () => { if (connections.get(key) === socket) connections.delete(key); }).on('error', () => {});
  });
  server.listen(port);
}
