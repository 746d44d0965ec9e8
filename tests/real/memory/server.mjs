// usage: node server.mjs PORT leak|steady
// Both do the same work; one keeps something of each request for good, the other the last few hundred answers.
import { createServer } from 'node:http';

const [port, mode] = process.argv.slice(2);
const kept = [];
const recent = new Map();
let served = 0;

function work() {
  served += 1;
  const body = { id: served, rows: Array.from({ length: 300 }, (_, row) => ({ row, text: `row ${row} of ${served}` })) };
  const text = JSON.stringify(body);
  if (mode === 'leak') {
    // A listener that nobody removes: what it closes over stays.
    const session = { id: served, asked: JSON.parse(text), answered: JSON.parse(text) };
    kept.push(() => session.id);
  } else {
    recent.set(served, text);
    if (recent.size > 300) recent.delete(served - 300);
  }
  return text;
}

createServer((request, answer) => {
  if (request.url === '/work') answer.end(work());
  else answer.end('{"ok":true}');
}).listen(Number(port), '127.0.0.1');
process.on('SIGTERM', () => process.exit(0));
