/**
 * An OpenID provider with one account, as far as signing in needs one: it asks the person, proves
 * the account with a signed token, and insists on the proof key. A page may be refused there.
 */
import { createHash, generateKeyPairSync, sign, type KeyObject } from 'node:crypto';
import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';

const CLIENT = 'fleetfoot';

interface Begun {
  readonly challenge: string;
  readonly nonce: string | null;
}

/** The provider. */
export class Provider {
  readonly client = CLIENT;
  issuer = '';
  /** What it says about the account. */
  claims: Record<string, unknown>;
  private readonly http: Server;
  private readonly key: KeyObject;
  private readonly jwk: object;
  private readonly codes = new Map<string, Begun>();

  private constructor(claims: Record<string, unknown>) {
    this.claims = claims;
    const pair = generateKeyPairSync('rsa', { modulusLength: 2048 });
    this.key = pair.privateKey;
    this.jwk = { ...pair.publicKey.export({ format: 'jwk' }), kid: 'one', use: 'sig', alg: 'RS256' };
    this.http = createServer((request, response) => {
      void this.answer(request).then(({ status, location, type, body }) => {
        response.writeHead(status, { 'content-type': type ?? 'application/json', connection: 'close', ...(location ? { location } : {}) }).end(body ?? '');
      });
    });
  }

  /** Starts one for an account with these claims. */
  static async up(claims: Record<string, unknown>): Promise<Provider> {
    const provider = new Provider(claims);
    await new Promise<void>((resolve) => provider.http.listen(0, '127.0.0.1', resolve));
    provider.issuer = `http://127.0.0.1:${(provider.http.address() as AddressInfo).port}`;
    return provider;
  }

  /** Ends it. */
  down(): void {
    this.http.closeAllConnections();
    this.http.close();
  }

  private async answer(request: IncomingMessage): Promise<{ status: number; location?: string; type?: string; body?: string }> {
    const url = new URL(request.url ?? '/', this.issuer);
    const { issuer } = this;
    switch (url.pathname) {
      case '/.well-known/openid-configuration':
        return json({
          issuer,
          authorization_endpoint: `${issuer}/authorize`,
          token_endpoint: `${issuer}/token`,
          jwks_uri: `${issuer}/keys`,
          response_types_supported: ['code'],
          subject_types_supported: ['public'],
          id_token_signing_alg_values_supported: ['RS256'],
          code_challenge_methods_supported: ['S256'],
          token_endpoint_auth_methods_supported: ['none'],
        });
      case '/keys':
        return json({ keys: [this.jwk] });
      case '/authorize': {
        const links = ['yes', 'no'].map((word) => `<a href="/${word}${url.search.replaceAll('&', '&amp;')}">${word}</a>`);
        return { status: 200, type: 'text/html', body: `<!doctype html><title>provider</title><link rel="icon" href="data:,">${links.join(' ')}` };
      }
      case '/yes': {
        const code = `code-${this.codes.size}`;
        this.codes.set(code, { challenge: url.searchParams.get('code_challenge') ?? '', nonce: url.searchParams.get('nonce') });
        return back(url, { code });
      }
      case '/no':
        return back(url, { error: 'access_denied' });
      case '/token':
        return this.token(new URLSearchParams(await read(request)));
      default:
        return { status: 404, body: '{}' };
    }
  }

  private token(form: URLSearchParams): { status: number; type?: string; body?: string } {
    const begun = this.codes.get(form.get('code') ?? '');
    const proof = createHash('sha256').update(form.get('code_verifier') ?? '').digest('base64url');
    if (begun === undefined || begun.challenge !== proof) return { status: 400, body: '{"error":"invalid_grant"}' };
    this.codes.delete(form.get('code') ?? '');
    const now = Math.floor(Date.now() / 1000);
    const claims = { ...this.claims, iss: this.issuer, aud: CLIENT, iat: now, exp: now + 300, ...(begun.nonce === null ? {} : { nonce: begun.nonce }) };
    const text = [{ alg: 'RS256', kid: 'one', typ: 'JWT' }, claims].map((part) => Buffer.from(JSON.stringify(part)).toString('base64url')).join('.');
    const signature = sign('sha256', Buffer.from(text), this.key).toString('base64url');
    return json({ token_type: 'Bearer', access_token: 'none', id_token: `${text}.${signature}` });
  }
}

function json(body: object): { status: number; type: string; body: string } {
  return { status: 200, type: 'application/json', body: JSON.stringify(body) };
}

function back(url: URL, answer: Record<string, string>): { status: number; location: string } {
  const location = new URL(url.searchParams.get('redirect_uri') ?? '');
  for (const [name, value] of Object.entries({ ...answer, state: url.searchParams.get('state') ?? '' })) location.searchParams.set(name, value);
  return { status: 302, location: location.href };
}

async function read(request: IncomingMessage): Promise<string> {
  let text = '';
  for await (const piece of request) text += String(piece);
  return text;
}
