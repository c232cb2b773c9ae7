/** What a change of one run does to the loaded pages of a list. Pure. */
import type { RunView } from '../../api/types';
import { fits, type RunFilter } from './filter';

/** One page of the list. */
export interface Page {
  items: RunView[];
  next_cursor?: string | null;
}

/** The list after a change, and whether the server has to be asked. */
export interface Changed {
  readonly pages: Page[];
  /** The list may lack this run or have it wrongly; only the server knows. */
  readonly ask: boolean;
}

/** Puts a new version of a run into the list: in its place, at the top, or out of it. */
export function withRun(pages: Page[], run: RunView, filter: RunFilter): Changed {
  const at = pages.findIndex((page) => page.items.some((item) => item.id === run.id));
  const fit = fits(run, filter);
  if (at >= 0) {
    const old = pages[at]?.items.find((item) => item.id === run.id);
    // Changes may overtake an answer that was on its way.
    if (old && old.change > run.change) return { pages, ask: false };
    return { pages: replaced(pages, at, run, fit !== false), ask: fit === null };
  }
  if (fit === null) return { pages, ask: true };
  const newest = pages[0]?.items[0];
  if (!fit || (newest && newest.id > run.id)) {
    // A run that came to fit stands somewhere in the middle; where, only the server knows.
    return { pages, ask: fit && Object.keys(filter).length > 0 };
  }
  const [first, ...rest] = pages;
  return { pages: [{ ...(first ?? {}), items: [run, ...(first?.items ?? [])] }, ...rest], ask: false };
}

/** Takes a run out of the list. */
export function withoutRun(pages: Page[], id: number): Page[] {
  if (!pages.some((page) => page.items.some((item) => item.id === id))) return pages;
  return pages.map((page) => ({ ...page, items: page.items.filter((item) => item.id !== id) }));
}

function replaced(pages: Page[], at: number, run: RunView, stays: boolean): Page[] {
  return pages.map((page, index) => {
    if (index !== at) return page;
    return {
      ...page,
      items: page.items.flatMap((item) => {
        if (item.id !== run.id) return [item];
        // An event may say less than the row of the list did.
        return stays ? [{ ...item, ...run, job_counts: run.job_counts ?? item.job_counts ?? null }] : [];
      }),
    };
  });
}
