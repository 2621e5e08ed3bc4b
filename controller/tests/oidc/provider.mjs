// The OpenID provider that tests log in at: the real package, on a free loopback port over TLS. Reads
// one JSON object from the environment variable CONFIG, prints its issuer as one line of JSON, and ends
// when its standard input does. What a person would do at its pages is said in request headers; a few
// paths under /test let a test make it misbehave.

import { createRequire } from 'node:module';
import { createServer } from 'node:https';
import { generateKeyPairSync, createPrivateKey, createPublicKey, randomUUID } from 'node:crypto';
import { pathToFileURL } from 'node:url';
import { join } from 'node:path';

const require = createRequire(join(process.env.EDGEFORMER_TEST_OIDC, 'package.json'));
const load = (name) => import(pathToFileURL(require.resolve(name)).href);
const { default: Provider } = await load('oidc-provider');
const { SignJWT, UnsecuredJWT, importJWK, decodeJwt, decodeProtectedHeader } = await load('jose');

const config = JSON.parse(process.env.CONFIG);
// Nobody reads more than the first line.
for (const name of ['log', 'info', 'warn']) console[name] = () => {};

const pair = (kind, options, alg) => {
  // By way of PEM: exporting the key object that the generator made can wait for ever in Node.js 20.
  const encoding = { type: 'pkcs8', format: 'pem' };
  const { privateKey } = generateKeyPairSync(kind, {
    ...options, privateKeyEncoding: encoding, publicKeyEncoding: { type: 'spki', format: 'pem' },
  });
  return { ...createPrivateKey(privateKey).export({ format: 'jwk' }), kid: `${alg}-${randomUUID()}`, use: 'sig', alg };
};
let keys = [
  pair('rsa', { modulusLength: 2048 }, 'RS256'),
  pair('rsa', { modulusLength: 2048 }, 'PS256'),
  pair('ec', { namedCurve: 'P-256' }, 'ES256'),
  pair('ec', { namedCurve: 'P-384' }, 'ES384'),
  pair('ed25519', {}, 'EdDSA'),
];
// Not in the published set: a key that is nobody's.
const strangers = pair('rsa', { modulusLength: 2048 }, 'RS256');
const published = (key) => {
  const { d, p, q, dp, dq, qi, ...rest } = key;
  return rest;
};

const server = createServer({ key: config.key, cert: config.cert });
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
const issuer = `https://localhost:${server.address().port}${config.path ?? ''}`;

// What tests changed, and what was sent to clients.
let tamper = {};
let delivered = [];
let requests = {};
// Keys that came later.
const added = [];

const algorithms = ['RS256', 'PS256', 'ES256', 'ES384', 'EdDSA'];
const provider = new Provider(issuer, {
  clients: config.clients.map((client) => ({
    grant_types: ['authorization_code'],
    response_types: ['code'],
    ...client,
  })),
  jwks: { keys },
  cookies: { keys: ['a test has no secrets'] },
  claims: { openid: ['sub', 'sid'], profile: ['name', 'preferred_username'],
    email: ['email', 'email_verified'], groups: ['groups'] },
  scopes: ['openid', 'profile', 'email', 'groups'],
  conformIdTokenClaims: config.claims_in_userinfo ?? false,
  enabledJWA: { idTokenSigningAlgValues: algorithms },
  features: {
    devInteractions: { enabled: false },
    backchannelLogout: { enabled: true },
    rpInitiatedLogout: { enabled: true },
    userinfo: { enabled: true },
  },
  interactions: { url: (ctx, interaction) => `${config.path ?? ''}/interaction/${interaction.uid}` },
  pkce: { required: () => true },
  findAccount: (ctx, id) => {
    const claims = config.accounts[id];
    return claims && { accountId: id, claims: async () => ({ sub: id, ...claims }) };
  },
  fetch: async (url, options) => {
    if (config.deliver) return fetch(url, options);
    delivered.push({ url: url.toString(), body: options.body.toString() });
    return new Response(null, { status: 200 });
  },
  renderError: (ctx, out) => { ctx.type = 'json'; ctx.body = out; },
});

/** Signs the ID token of an answer again, with what the test wants to be wrong. */
async function forge(token) {
  const header = { ...decodeProtectedHeader(token), ...tamper.header };
  const claims = { ...decodeJwt(token), ...tamper.claims };
  for (const name of tamper.without ?? []) delete claims[name];
  if (tamper.by === 'nobody') return new UnsecuredJWT(claims).encode();
  if (tamper.by === 'public key as secret') {
    const rsa = keys.find((key) => key.alg === 'RS256');
    const pem = createPublicKey({ key: published(rsa), format: 'jwk' })
      .export({ type: 'spki', format: 'pem' });
    return new SignJWT(claims).setProtectedHeader({ ...header, alg: 'HS256' })
      .sign(new TextEncoder().encode(pem));
  }
  if (tamper.by === 'a broken signature') {
    const [head, , signature] = token.split('.');
    return [head, Buffer.from(JSON.stringify(claims)).toString('base64url'), signature].join('.');
  }
  const wanted = tamper.by === 'a stranger' ? strangers
    : keys.find((key) => key.alg === (tamper.header?.alg ?? decodeProtectedHeader(token).alg));
  const crit = Object.fromEntries((header.crit ?? []).map((name) => [name, true]));
  return new SignJWT(claims).setProtectedHeader(header)
    .sign(await importJWK(wanted, header.alg), { crit });
}

provider.use(async (ctx, next) => {
  const path = ctx.path.slice((config.path ?? '').length);
  requests[path] = (requests[path] ?? 0) + 1;
  if (path.startsWith('/interaction/')) return interact(ctx);
  await next();
  if (path === '/token' && ctx.body?.id_token && Object.keys(tamper).length > 0) {
    ctx.body = { ...ctx.body, id_token: await forge(ctx.body.id_token) };
  }
  if (path === '/jwks') ctx.body = { keys: [...ctx.body.keys, ...added.map(published)] };
});

/** Whoever the request says logs in and consents, or refuses. */
async function interact(ctx) {
  // The package answers by itself.
  ctx.respond = false;
  const details = await provider.interactionDetails(ctx.req, ctx.res);
  const accountId = ctx.get('x-test-account');
  if (!accountId) {
    const refusal = { error: 'access_denied', error_description: 'End-User aborted interaction' };
    return provider.interactionFinished(ctx.req, ctx.res, refusal);
  }
  const { client_id: clientId, scope } = details.params;
  const grant = new provider.Grant({ accountId, clientId });
  grant.addOIDCScope(scope);
  const grantId = await grant.save();
  return provider.interactionFinished(ctx.req, ctx.res, {
    login: { accountId }, consent: { grantId },
  });
}

const answer = provider.callback();
server.on('request', (request, response) => {
  if (!request.url.startsWith('/test/')) return answer(request, response);
  let body = '';
  request.on('data', (part) => { body += part; });
  request.on('end', async () => {
    const given = body ? JSON.parse(body) : {};
    let out = {};
    if (request.url === '/test/tamper') tamper = given;
    if (request.url === '/test/delivered') { out = delivered; delivered = []; }
    if (request.url === '/test/requests') out = requests;
    if (request.url === '/test/register') {
      const client = await provider.Client.find(given.client_id);
      client.redirectUris = [...client.redirectUris, given.redirect_uri];
      client.backchannelLogoutUri = given.back_channel_logout_uri;
      client.backchannelLogoutSessionRequired = true;
    }
    if (request.url === '/test/rotate') {
      added.push(pair('rsa', { modulusLength: 2048 }, 'RS256'));
    }
    // A token that any claims stand in, signed by a published key or by a stranger's.
    if (request.url === '/test/sign') {
      const key = given.by === 'a stranger' ? strangers
        : given.by === 'the newest key' ? added.at(-1)
          : keys.find((one) => one.alg === 'RS256');
      out = await new SignJWT(given.claims)
        .setProtectedHeader({ alg: 'RS256', kid: key.kid, ...given.header })
        .sign(await importJWK(key, 'RS256'));
    }
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify(out));
  });
});

process.stdin.on('end', () => process.exit(0)).resume();
process.stdout.write(`${JSON.stringify({ issuer })}\n`);
