// An upstream with Node's parser (llhttp): records every request that it parsed. As tests/parts/recorder.py.
'use strict';
const fs = require('fs');
const http = require('http');

const record = fs.openSync(process.argv[2], 'a');
const socket = process.env.SPACE_AGENT_APP_SOCKET;
let count = 0;

function tell(line) {
  fs.writeSync(record, JSON.stringify(line) + '\n');
}

function answer(response, number, code) {
  const body = `seen ${number}\n`;
  response.writeHead(code, { 'X-Mark': String(number), 'Content-Length': String(body.length) });
  response.end(body);
}

const server = http.createServer((request, response) => {
  const number = ++count;
  const headers = [];
  for (let at = 0; at < request.rawHeaders.length; at += 2) {
    headers.push([request.rawHeaders[at].toLowerCase(), request.rawHeaders[at + 1]]);
  }
  tell({ event: 'head', id: number, method: request.method, target: request.url, headers });
  const early = request.url.endsWith('/early');
  if (early) answer(response, number, 413);
  let length = 0;
  let body = Buffer.alloc(0);
  request.on('data', (chunk) => {
    length += chunk.length;
    if (body.length < 4096) body = Buffer.concat([body, chunk]).subarray(0, 4096);
  });
  request.on('end', () => {
    const trailers = Object.entries(request.trailers);
    tell({ event: 'end', id: number, length, body: body.toString('latin1'), trailers });
    if (!early) answer(response, number, 200);
  });
  request.on('error', () => {});
});

try {
  fs.unlinkSync(socket);
} catch {
  // There was none before.
}
server.listen(socket);
process.on('SIGTERM', () => process.exit(0));
