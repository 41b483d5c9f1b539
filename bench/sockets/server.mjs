// What somebody would write with `ws`: events come by a queue of their own on the topic, each goes to the sockets that asked for its asset. No log, no
// replay, no authorisation.
import http from "node:http";
import { WebSocketServer } from "ws";
import { sqs } from "./aws.mjs";

const QueueUrl = process.env.QUEUE_URL;
const HEARTBEAT_MS = 25_000;
const listeners = new Map();

const server = http.createServer((_, answer) => answer.end("ok"));
const sockets = new WebSocketServer({ server, perMessageDeflate: false });
sockets.on("connection", (socket) => {
  socket.once("message", (text) => {
    for (const topic of JSON.parse(text).topics) {
      if (!listeners.has(topic)) listeners.set(topic, new Set());
      listeners.get(topic).add(socket);
      socket.once("close", () => listeners.get(topic).delete(socket));
    }
    socket.send(JSON.stringify({ op: "welcome", heartbeat_ms: HEARTBEAT_MS }));
  });
});
setInterval(() => sockets.clients.forEach((socket) => socket.send('{"op":"ping"}')), HEARTBEAT_MS);
server.listen(Number(process.env.PORT), "127.0.0.1", 1024);

for (;;) {
  const { Messages = [] } = await sqs("ReceiveMessage", { QueueUrl, MaxNumberOfMessages: 10, WaitTimeSeconds: 15 });
  for (const message of Messages) {
    const event = JSON.parse(message.Body);
    const stream = `asset:${event.subject}`;
    const heard = listeners.get(stream);
    if (!heard) continue;
    const { id, type: kind, subject, time: at, data } = event;
    const frame = JSON.stringify({ op: "event", stream, position: 0, id, kind, subject, at, data });
    heard.forEach((socket) => socket.send(frame));
  }
  if (Messages.length) {
    const Entries = Messages.map((message, index) => ({ Id: String(index), ReceiptHandle: message.ReceiptHandle }));
    await sqs("DeleteMessageBatch", { QueueUrl, Entries });
  }
}
