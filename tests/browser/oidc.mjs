// A real OpenID provider (panva's oidc-provider) on a port of its own. Prints {"issuer": …} once it listens.
//
// POST /control says where it sends people back to ({"redirect": …}, before anything else), and changes what happens from
// then on: {"account": {sub, email, email_verified, name, groups}} is who signs in
// (without a form: who it is was said here); {"tamper": {…}} changes claims of the ID tokens that it signs; {"sign_by": "ES256",
// "RS256" or "stranger"} says which key signs them; {"rotate": true} gives it other keys.
import { createServer } from "node:http";
import * as jose from "jose";
import { Provider } from "oidc-provider";

const client = { client_id: "films", client_secret: "s3cret:with/odd chars", redirect_uris: [] };
const state = { account: { sub: "nobody" }, tamper: {}, sign_by: "RS256" };

const pairs = async (kid) => {
  const made = {};
  for (const alg of ["RS256", "ES256"]) {
    const { privateKey, publicKey } = await jose.generateKeyPair(alg, { extractable: true });
    const tell = async (key) => ({ ...(await jose.exportJWK(key)), kid: `${alg}-${kid}`, alg, use: "sig" });
    made[alg] = { key: privateKey, secret: await tell(privateKey), shown: await tell(publicKey) };
  }
  return made;
};
let keys = await pairs("one");
const stranger = (await pairs("one")).RS256;

const server = createServer();
await new Promise((listens) => server.listen(0, "127.0.0.1", listens));
// Another site than 127.0.0.1, for browsers that look.
const issuer = `http://localhost:${server.address().port}`;

const make = () => new Provider(issuer, {
  clients: [client],
  jwks: { keys: [keys.RS256.secret, keys.ES256.secret] },
  cookies: { keys: ["one of the tests"] },
  pkce: { required: () => true, methods: ["S256"] },
  claims: { openid: ["sub"], email: ["email", "email_verified"], profile: ["name", "groups"] },
  features: { devInteractions: { enabled: false } },
  interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` },
  findAccount: (_, sub) => ({ accountId: sub, claims: () => ({ ...state.account, sub }) }),
  renderError: (ctx, out) => {
    ctx.type = "json";
    ctx.body = out;
  },
});
let provider;

/** The same token with other claims, or signed by another key. */
const forged = async (token) => {
  const by = state.sign_by === "stranger" ? stranger : keys[state.sign_by];
  const claims = { ...jose.decodeJwt(token), ...state.tamper };
  const header = { alg: state.sign_by === "stranger" ? "RS256" : state.sign_by, kid: by.secret.kid };
  return new jose.SignJWT(claims).setProtectedHeader(header).sign(by.key);
};
const middle = async (ctx, next) => {
  if (ctx.path.startsWith("/interaction/")) {
    const { prompt, params, grantId } = await provider.interactionDetails(ctx.req, ctx.res);
    let result = { login: { accountId: state.account.sub } };
    if (prompt.name === "consent") {
      const { accountId } = (await provider.interactionDetails(ctx.req, ctx.res)).session;
      const grant = grantId
        ? await provider.Grant.find(grantId)
        : new provider.Grant({ accountId, clientId: params.client_id });
      grant.addOIDCScope("openid email profile");
      result = { consent: { grantId: await grant.save() } };
    }
    ctx.respond = false;
    return provider.interactionFinished(ctx.req, ctx.res, result, { mergeWithLastSubmission: true });
  }
  await next();
  if (ctx.path === "/token" && ctx.body?.id_token) ctx.body.id_token = await forged(ctx.body.id_token);
  if (ctx.path === "/jwks") ctx.body = { keys: [keys.RS256.shown, keys.ES256.shown] };
};

server.on("request", (request, response) => {
  if (request.url !== "/control") return provider.callback()(request, response);
  let text = "";
  request.on("data", (part) => (text += part));
  request.on("end", async () => {
    const { rotate, redirect, ...change } = JSON.parse(text);
    if (redirect) {
      client.redirect_uris = [redirect];
      provider = make();
      provider.use(middle);
    }
    Object.assign(state, change);
    if (rotate) keys = await pairs("two");
    response.end("{}");
  });
});
console.log(JSON.stringify({ issuer }));
process.stdin.on("end", () => process.exit(0)).resume();
