/** Lists that come in pages: the next one is asked for with a button. */
import { useInfiniteQuery } from '@tanstack/react-query';
import type { ReactNode } from 'react';
import { Failed, Loading } from './states';

/** One page as the server gives it. */
interface Page<T> {
  readonly items: readonly T[];
  readonly next_cursor?: string | number | null | undefined;
}

/** A list of which some pages are here. */
export interface Paged<T> {
  /** The rows of all pages; `undefined` before the first. */
  readonly rows: readonly T[] | undefined;
  readonly error: unknown;
  /** Asks for the next page; `undefined` if there is none. */
  readonly more: (() => void) | undefined;
  readonly busy: boolean;
  again(): void;
}

/** Reads a list page by page; `load` is told behind what a page begins. */
export function usePages<T>(
  key: readonly unknown[],
  load: (cursor: string | undefined, signal: AbortSignal) => Promise<Page<T>>,
  everyMs: number | false = false,
): Paged<T> {
  const query = useInfiniteQuery({
    queryKey: key,
    initialPageParam: undefined as string | undefined,
    queryFn: ({ pageParam, signal }) => load(pageParam, signal),
    getNextPageParam: ({ next_cursor: next }) => (next == null ? undefined : String(next)),
    refetchInterval: everyMs,
  });
  return {
    rows: query.data?.pages.flatMap((page) => page.items),
    error: query.error,
    more: query.hasNextPage ? () => void query.fetchNextPage() : undefined,
    busy: query.isFetchingNextPage,
    again: () => void query.refetch(),
  };
}

/** Shows the rows that are here, and the button for more. */
export function Pages<T>({ of, more = 'More', children }: { of: Paged<T>; more?: string; children: (rows: readonly T[]) => ReactNode }) {
  if (of.rows === undefined) return of.error == null ? <Loading /> : <Failed error={of.error} retry={of.again} />;
  return (
    <>
      {/* What is here stays, also if the next page does not come. */}
      {of.error != null && <Failed error={of.error} retry={of.again} />}
      {children(of.rows)}
      {of.more && (
        <button type="button" className="button" disabled={of.busy} onClick={of.more}>
          {more}
        </button>
      )}
    </>
  );
}
