/**
 * Who is signed in, and how one signs in and out. The session itself is a cookie
 * that scripts cannot read; this module only knows the person and the CSRF token.
 */
import { queryOptions, type QueryClient } from '@tanstack/react-query';
import { send, setCsrfToken } from './client';
import { ApiError } from './problem';

/** What a person may do: look; start and steer runs; administer. */
export type Role = 'read_only' | 'member' | 'admin';

/** The person of this session. */
export interface Session {
  /** Name as shown. */
  readonly name: string;
  /** Role that the server goes by. */
  readonly role: Role;
  /** Sent back with every request that changes something. */
  readonly csrf: string | null;
}

/** One way to sign in through somebody else. */
export interface SignInLink {
  readonly id: string;
  readonly name: string;
}

/** Which ways to sign in this server offers. */
export interface SignInWays {
  readonly password: boolean;
  readonly providers: readonly SignInLink[];
}

const RANK: Record<Role, number> = { read_only: 0, member: 1, admin: 2 };

/** Whether a person of this role may do what `needed` may. */
export function mayAct(session: Session | null | undefined, needed: Role): boolean {
  return session != null && RANK[session.role] >= RANK[needed];
}

/** The current session, or `null` if nobody is signed in. */
export const sessionQuery = queryOptions({
  queryKey: ['session'],
  queryFn: async (): Promise<Session | null> => {
    try {
      return remember(sessionOf(await (await send('/api/v1/session')).json()));
    } catch (error) {
      if (error instanceof ApiError && error.status === 401) return remember(null);
      throw error;
    }
  },
  staleTime: 5 * 60_000,
});

/** The ways to sign in. A server that does not tell offers a token alone. */
export const signInWaysQuery = queryOptions({
  queryKey: ['sign-in'],
  queryFn: async (): Promise<SignInWays> => waysOf(await (await send('/api/v1/sign-in')).json()),
  staleTime: 60_000,
  retry: false,
});

/** Begins a session with a name and a password, or with an API token. */
export async function signIn(
  queries: QueryClient,
  proof: { name: string; password: string } | { token: string },
): Promise<void> {
  const response = await send('/api/v1/session', {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify(proof),
  });
  const session = remember(sessionOf(await response.json()));
  queries.clear();
  queries.setQueryData(sessionQuery.queryKey, session);
}

/** Ends the session, here and at the server. */
export async function signOut(queries: QueryClient): Promise<void> {
  await send('/api/v1/session', { method: 'DELETE' });
  remember(null);
  queries.clear();
  queries.setQueryData(sessionQuery.queryKey, null);
}

function remember(session: Session | null): Session | null {
  setCsrfToken(session?.csrf ?? null);
  return session;
}

function field(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[name] : undefined;
}

function text(value: unknown): string | null {
  return typeof value === 'string' && value !== '' ? value : null;
}

function sessionOf(body: unknown): Session {
  const user = field(body, 'user');
  const named = text(field(body, 'name')) ?? text(user) ?? text(field(user, 'name'));
  const role = text(field(body, 'role')) ?? text(field(user, 'role'));
  return {
    name: named ?? 'somebody',
    role: role === 'admin' || role === 'member' ? role : 'read_only',
    csrf: text(field(body, 'csrf')) ?? text(field(body, 'csrf_token')),
  };
}

function waysOf(body: unknown): SignInWays {
  const providers = field(body, 'oidc') ?? field(body, 'providers');
  return {
    password: field(body, 'password') !== false,
    providers: Array.isArray(providers)
      ? providers.flatMap((provider: unknown) => {
          const id = text(field(provider, 'id'));
          return id ? [{ id, name: text(field(provider, 'name')) ?? id }] : [];
        })
      : [],
  };
}
