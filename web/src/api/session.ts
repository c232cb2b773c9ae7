/**
 * Who is signed in, and how one signs in and out. The session itself is a cookie
 * that scripts cannot read; this module only knows the person and the CSRF token.
 */
import { queryOptions, type QueryClient } from '@tanstack/react-query';
import { answer, api, setCsrfToken } from './client';
import { ApiError } from './problem';
import type { Role, SessionView, SignIn as SignInBody, SignInWays } from './schema.gen';

export type { Role, SignInWays };

/** The person of this session. */
export type Session = SessionView;

const RANK: Record<Role, number> = { read_only: 0, member: 1, admin: 2 };

/** Whether a person of this role may do what `needed` may. */
export function mayAct(session: Session | null | undefined, needed: Role): boolean {
  return session != null && RANK[session.role] >= RANK[needed];
}

const HINT = 'fleetfoot.signed-in';

/**
 * Whether somebody may be signed in. The cookie itself cannot be seen from here;
 * asking the server without need would be an error in the console of the browser.
 */
function maybeSignedIn(): boolean {
  try {
    return localStorage.getItem(HINT) !== null;
  } catch {
    return true;
  }
}

/** Which sign-in of this browser this page knows; every one has a word of its own. */
let known: string | null = null;

function keepHint(word: string | null): void {
  known = word;
  try {
    if (word === null) localStorage.removeItem(HINT);
    else localStorage.setItem(HINT, word);
  } catch {
    // A browser that keeps nothing asks every time.
  }
}

function keptHint(): string | null {
  try {
    return localStorage.getItem(HINT);
  } catch {
    return null;
  }
}

/** The browser goes to a provider of identities, and perhaps comes back with a session. */
export function leavesToSignIn(): void {
  keepHint(newWord());
}

/** The current session, or `null` if nobody is signed in. */
export const sessionQuery = queryOptions({
  queryKey: ['session'],
  queryFn: async (): Promise<Session | null> => {
    if (!maybeSignedIn()) return remember(null);
    try {
      return remember(await answer(api.GET('/api/v1/session')));
    } catch (error) {
      if (error instanceof ApiError && error.status === 401) return remember(null);
      throw error;
    }
  },
  staleTime: 5 * 60_000,
});

/** The ways to sign in, beside an API token. */
export const signInWaysQuery = queryOptions({
  queryKey: ['sign-in'],
  queryFn: async (): Promise<SignInWays> => answer(api.GET('/api/v1/sign-in')),
  staleTime: 60_000,
});

/** Begins a session with a name and a password, or with an API token. */
export async function signIn(
  queries: QueryClient,
  proof: { name: string; password: string } | { token: string },
): Promise<void> {
  const session = remember(await answer(api.POST('/api/v1/session', { body: proof as SignInBody })), true);
  queries.clear();
  queries.setQueryData(sessionQuery.queryKey, session);
}

/** Ends the session, here and at the server. */
export async function signOut(queries: QueryClient): Promise<void> {
  await answer<unknown>(api.DELETE('/api/v1/session'));
  forget(queries);
}

/**
 * The session of this page has ended. If somebody signed in again in another tab, the cookie is that of
 * a new session, and the server is asked who it is; otherwise nobody is signed in.
 */
export function endSession(queries: QueryClient): void {
  const kept = keptHint();
  if (kept === null || kept === known) forget(queries);
  else queries.clear();
}

/** Forgets who was signed in, and everything that was known for that person. */
export function forget(queries: QueryClient): void {
  remember(null);
  queries.clear();
  queries.setQueryData(sessionQuery.queryKey, null);
}

function remember(session: Session | null, fresh = false): Session | null {
  setCsrfToken(session?.csrf_token ?? null);
  if (session === null) keepHint(null);
  else keepHint(fresh ? newWord() : (keptHint() ?? newWord()));
  return session;
}

/** A word for a sign-in. Nothing secret: it only has to differ from the one before. */
function newWord(): string {
  return `${Date.now()}-${Math.random()}`;
}
