/**
 * The one way to the server: a client typed by the OpenAPI document. It adds the
 * CSRF token to requests that change something, turns failures into
 * {@link ApiError}, and tells who listens when the session has ended. It never
 * retries and never caches: that is the query client's work.
 */
import createClient, { type Middleware } from 'openapi-fetch';
import { asApiError, errorOf } from './problem';
import type { paths } from './schema.gen';

let csrfToken: string | null = null;
let onSignedOut: () => void = () => {};

/** Sets the token that requests carry which change something; `null` for none. */
export function setCsrfToken(token: string | null): void {
  csrfToken = token;
}

/** Says what happens when the server no longer knows who asks. */
export function whenSignedOut(listener: () => void): void {
  onSignedOut = listener;
}

/** The session has ended: a request was refused for it, or a stream said so. */
export function sessionEnded(): void {
  onSignedOut();
}

const SAFE = new Set(['GET', 'HEAD', 'OPTIONS']);

/** The same headers and faults for requests that the typed client does not know. */
export async function send(input: string, init: RequestInit = {}): Promise<Response> {
  const headers = new Headers(init.headers);
  if (!SAFE.has((init.method ?? 'GET').toUpperCase()) && csrfToken) headers.set('X-Fleetfoot-CSRF', csrfToken);
  let response: Response;
  try {
    response = await fetch(input, { ...init, headers, credentials: 'same-origin' });
  } catch (thrown) {
    throw thrown instanceof DOMException && thrown.name === 'AbortError' ? thrown : asApiError(thrown);
  }
  if (!response.ok) throw await refused(response, input);
  return response;
}

async function refused(response: Response, address: string): Promise<Error> {
  const error = await errorOf(response);
  // Asking who is signed in is no sign of an ended session, nor is a wrong password.
  if (error.status === 401 && !new URL(address, location.href).pathname.endsWith('/session')) sessionEnded();
  return error;
}

const faults: Middleware = {
  onRequest({ request }) {
    if (!SAFE.has(request.method) && csrfToken) request.headers.set('X-Fleetfoot-CSRF', csrfToken);
    return request;
  },
  async onResponse({ response, request }) {
    if (!response.ok) throw await refused(response, request.url);
    return undefined;
  },
  onError({ error }) {
    if (error instanceof DOMException && error.name === 'AbortError') return error;
    return asApiError(error);
  },
};

const client = createClient<paths>({ baseUrl: '', credentials: 'same-origin' });
client.use(faults);

/** The typed client. Failures are thrown as {@link ApiError}. */
export const api = client;

/** What a request answered; failures were thrown before. */
export async function answer<T>(request: Promise<{ data?: T; error?: unknown }>): Promise<T> {
  const { data, error } = await request;
  if (error !== undefined) throw asApiError(error);
  return data as T;
}
