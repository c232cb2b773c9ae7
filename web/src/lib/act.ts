/** Doing something at the server from a button: it is said how it went, and what depends on it becomes fresh. */
import { useQueryClient } from '@tanstack/react-query';
import { complain, say } from '../ui/toasts';

/** Does `work`; `what` names the attempt, `done` its success; `keys` are the queries that depend on it. */
export type Do = (what: string, work: () => Promise<unknown>, done: string, keys: readonly string[]) => Promise<void>;

/** The function that does it. */
export function useDo(): Do {
  const queries = useQueryClient();
  return async (what, work, done, keys) => {
    try {
      await work();
      say(done);
    } catch (error) {
      complain(error, what);
    }
    await Promise.all(keys.map((key) => queries.invalidateQueries({ queryKey: [key] })));
  };
}
