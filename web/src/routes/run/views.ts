/** The ways to look at the jobs of a run, as the address names them. */
export const VIEWS = ['graph', 'timeline', 'runners', 'matrix'] as const;

/** Name of a way. */
export type RunViewName = (typeof VIEWS)[number];

/** Whether a word of the address names a way. */
export function isRunView(word: unknown): word is RunViewName {
  return VIEWS.some((view) => view === word);
}
