/**
 * Errors of the API as people read them. Every failed request becomes one
 * {@link ApiError}: what happened, and what to do about it. This module never
 * shows anything itself.
 */
import type { Diagnostic, Problem } from './schema.gen';

/** A request that did not succeed. */
export class ApiError extends Error {
  override readonly name = 'ApiError';
  /** HTTP status; 0 if the server was not reached. */
  readonly status: number;
  /** Stable word for programs (`not_found`); `unreachable` if there was no answer. */
  readonly code: string;
  /** What to do about it. */
  readonly hint: string | undefined;
  /** Findings in a document that was sent. */
  readonly findings: readonly Diagnostic[];

  constructor(fields: { status: number; code: string; message: string; hint?: string | undefined; findings?: readonly Diagnostic[] }) {
    super(fields.message);
    this.status = fields.status;
    this.code = fields.code;
    this.hint = fields.hint;
    this.findings = fields.findings ?? [];
  }
}

/** The error for a request that no server answered. */
export function unreachable(): ApiError {
  return new ApiError({
    status: 0,
    code: 'unreachable',
    message: 'The server does not answer.',
    hint: 'The page tries again by itself. If it stays so, look whether the server runs: fleetfoot status',
  });
}

/** The error that a failed answer tells, whatever its body is. */
export async function errorOf(response: Response): Promise<ApiError> {
  const text = await response.text().catch(() => '');
  const problem = parseProblem(text);
  if (problem) {
    return new ApiError({
      status: problem.status,
      code: problem.code,
      message: sentence(problem.detail || problem.title),
      hint: problem.hint ?? fallbackHint(problem.status),
      findings: problem.errors ?? [],
    });
  }
  return new ApiError({
    status: response.status,
    code: 'http',
    message: `The server answered with status ${response.status}${response.statusText ? ` (${response.statusText})` : ''}.`,
    hint: fallbackHint(response.status),
  });
}

/** Anything that was thrown, as an {@link ApiError}. */
export function asApiError(thrown: unknown): ApiError {
  if (thrown instanceof ApiError) return thrown;
  // `fetch` throws a TypeError when nothing answers; there is no better sign.
  if (thrown instanceof TypeError && /fetch|network|load failed/i.test(thrown.message)) return unreachable();
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  return new ApiError({
    status: -1,
    code: 'page',
    message: `This page has a fault: ${message}`,
    hint: 'Reload the page. If it happens again, please report it with the address of this page.',
  });
}

function parseProblem(text: string): Problem | null {
  if (!text.startsWith('{')) return null;
  try {
    const value: unknown = JSON.parse(text);
    const looksRight =
      typeof value === 'object' && value !== null && 'code' in value && 'detail' in value && 'status' in value;
    return looksRight ? (value as Problem) : null;
  } catch {
    return null;
  }
}

function fallbackHint(status: number): string | undefined {
  switch (status) {
    case 401:
      return 'Sign in again.';
    case 403:
      return 'Your role does not allow this. An admin can change it.';
    case 429:
    case 503:
      return 'The server is busy or starting. Try again in a moment.';
    default:
      return undefined;
  }
}

/** The text as a sentence: a capital at its beginning and a full stop at its end. */
function sentence(text: string): string {
  const trimmed = text.trim();
  if (trimmed === '') return trimmed;
  const first = trimmed.charAt(0);
  const begun = /^[a-z][a-z]* /.test(trimmed) ? first.toUpperCase() + trimmed.slice(1) : trimmed;
  return /[.!?:)]$/.test(begun) ? begun : `${begun}.`;
}
