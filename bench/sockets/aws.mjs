// Signed requests to SQS and SNS over kept connections, without an SDK.
import { createHash, createHmac } from "node:crypto";
import http from "node:http";

const { AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION } = process.env;
const { hostname, port, host } = new URL(AWS_ENDPOINT_URL);
const agent = new http.Agent({ keepAlive: true });

const sha256 = (text) => createHash("sha256").update(text).digest("hex");
const hmac = (key, text) => createHmac("sha256", key).update(text).digest();

function signed(service, headers, body) {
  const date = new Date().toISOString().replace(/[-:]|\.\d{3}/g, "");
  const scope = `${date.slice(0, 8)}/${AWS_REGION}/${service}/aws4_request`;
  const all = { ...headers, host, "x-amz-date": date };
  const names = Object.keys(all).sort();
  const lines = names.map((name) => `${name}:${all[name]}\n`).join("");
  const canonical = `POST\n/\n\n${lines}\n${names.join(";")}\n${sha256(body)}`;
  const text = `AWS4-HMAC-SHA256\n${date}\n${scope}\n${sha256(canonical)}`;
  const key = [date.slice(0, 8), AWS_REGION, service, "aws4_request"].reduce(hmac, `AWS4${AWS_SECRET_ACCESS_KEY}`);
  const signature = hmac(key, text).toString("hex");
  const credential = `${AWS_ACCESS_KEY_ID}/${scope}`;
  all.authorization = `AWS4-HMAC-SHA256 Credential=${credential}, SignedHeaders=${names.join(";")}, Signature=${signature}`;
  return all;
}

function post(service, headers, body) {
  return new Promise((resolve, reject) => {
    const options = { hostname, port, method: "POST", path: "/", agent, headers: signed(service, headers, body) };
    const request = http.request(options, (answer) => {
      const chunks = [];
      answer.on("data", (chunk) => chunks.push(chunk));
      answer.on("end", () => {
        const text = Buffer.concat(chunks).toString();
        if (answer.statusCode < 300) resolve(text);
        else reject(new Error(`${service}: ${answer.statusCode} ${text.slice(0, 200)}`));
      });
    });
    request.on("error", reject);
    request.end(body);
  });
}

export async function sqs(action, members) {
  const headers = { "content-type": "application/x-amz-json-1.0", "x-amz-target": `AmazonSQS.${action}` };
  return JSON.parse((await post("sqs", headers, JSON.stringify(members))) || "{}");
}

export function sns(action, members) {
  const body = new URLSearchParams({ Action: action, Version: "2010-03-31", ...members }).toString();
  return post("sns", { "content-type": "application/x-www-form-urlencoded" }, body);
}
