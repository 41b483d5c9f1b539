// Many sockets of one server, each with an asset of its own. Told by lines of JSON on standard input; answers by lines of JSON:
// {"open": [ASSET…]} connects one for each, {"round": {"seconds", "rate"}} publishes progress, each of another asset, and answers how long each took to arrive.
import http from "node:http";
import readline from "node:readline";
import WebSocket from "ws";
import { sns } from "./aws.mjs";

const { URL: url, TOPIC_ARN, API_KEY } = process.env;
let assets = [];
const OPENING = 64;
const BATCH = 10;
// Steps through the assets: none twice in a round, for of the progress of one asset only the newest is sent.
const STRIDE = 7919;
const waiting = new Map();
const took = [];
let sequence = 0;
let held = 0;
let lost = 0;

function heard(text) {
  if (text.includes('"ping"')) return true;
  const frame = JSON.parse(text);
  const sent = frame.data && waiting.get(`${frame.subject} ${frame.data.sequence}`);
  if (sent !== undefined) {
    took.push(performance.now() - sent);
    waiting.delete(`${frame.subject} ${frame.data.sequence}`);
  }
  return false;
}

function open(asset, number) {
  return new Promise((resolve, reject) => {
    const headers = { authorization: `Bearer ${API_KEY}` };
    // Addresses of the loopback net: one alone has ports for some 28,000 sockets.
    const agent = new http.Agent({ localAddress: `127.0.0.${2 + (number % 4)}` });
    const socket = new WebSocket(url, { headers, agent, perMessageDeflate: false });
    socket.on("open", () => socket.send(JSON.stringify({ op: "hello", topics: [`asset:${asset}`] })));
    socket.on("message", (data) => {
      const text = data.toString();
      if (text.startsWith('{"op":"welcome"')) {
        held += 1;
        resolve();
      } else if (heard(text)) {
        socket.send('{"op":"pong"}');
      }
    });
    socket.on("close", (code, reason) => {
      held -= 1;
      lost += 1;
      reject(new Error(`closed: ${code} ${reason}`));
    });
    socket.on("error", reject);
  });
}

async function openAll(ids) {
  assets = ids;
  const began = performance.now();
  let next = 0;
  let why = "";
  async function one() {
    while (next < assets.length && !why) {
      const number = next++;
      await open(assets[number], number).catch((error) => { why = error.message; });
    }
  }
  await Promise.all(Array.from({ length: OPENING }, one));
  return { held, why, seconds: (performance.now() - began) / 1000 };
}

function event(asset) {
  sequence += 1;
  const data = { asset, job: asset.replace("ast_", "job_"), percent: 50, sequence };
  const id = `evt_${String(sequence).padStart(26, "0")}`;
  const time = new Date().toISOString();
  return { specversion: "1.0", id, source: "/reelfleet/default", subject: asset, time, datacontenttype: "application/json",
    tenant: "default", type: "job.progressed.v1", data };
}

async function publish(count) {
  const members = { TopicArn: TOPIC_ARN };
  for (let number = 1; number <= count; number++) {
    const made = event(assets[(sequence * STRIDE) % held]);
    waiting.set(`${made.subject} ${made.data.sequence}`, performance.now());
    members[`PublishBatchRequestEntries.member.${number}.Id`] = String(number);
    members[`PublishBatchRequestEntries.member.${number}.Message`] = JSON.stringify(made);
  }
  await sns("PublishBatch", members);
}

const percentile = (sorted, share) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))];

async function round({ seconds, rate }) {
  took.length = 0;
  waiting.clear();
  const batches = Math.round((seconds * rate) / BATCH);
  const every = (1000 * BATCH) / rate;
  const began = performance.now();
  const sends = [];
  for (let number = 0; number < batches; number++) {
    const pause = began + number * every - performance.now();
    if (pause > 0) await new Promise((resolve) => setTimeout(resolve, pause));
    sends.push(publish(BATCH));
  }
  await Promise.all(sends);
  for (let tries = 0; waiting.size && tries < 300; tries++) await new Promise((resolve) => setTimeout(resolve, 50));
  const sorted = took.slice().sort((a, b) => a - b);
  return { sent: batches * BATCH, missing: waiting.size, lost, p50: percentile(sorted, 0.5), p99: percentile(sorted, 0.99) };
}

for await (const line of readline.createInterface({ input: process.stdin })) {
  const asked = JSON.parse(line);
  const answer = asked.open ? await openAll(asked.open) : await round(asked.round);
  console.log(JSON.stringify(answer));
}
process.exit(0);
