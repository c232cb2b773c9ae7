/**
 * The graph of a run: its jobs by the node of the document that they are legs of,
 * and what needs what. Pure; the layout of the drawing is in `layout.ts`.
 */
import type { JobView } from '../../api/types';
import { standing, type Standing } from '../../ui/Status';

/** A job of the document with its legs. */
export interface GraphNode {
  readonly key: string;
  /** Name for people: of the job, or what its legs have in common. */
  readonly name: string;
  readonly legs: readonly JobView[];
  readonly needs: readonly string[];
  /** The leg that says most about how it stands. */
  readonly standing: Standing;
}

/** Which standing of a leg speaks for all legs: the first of these that there is. */
const LOUDEST = ['Cancelling', 'Running', 'Failed', 'Timed out', 'Queued', 'Waiting', 'Cancelled', 'Succeeded', 'Skipped'];

/** Nodes in the order of the document. */
export function nodesOf(jobs: readonly JobView[]): GraphNode[] {
  const legs = new Map<string, JobView[]>();
  for (const job of jobs) {
    const known = legs.get(job.key);
    if (known) known.push(job);
    else legs.set(job.key, [job]);
  }
  return [...legs].map(([key, of]) => ({
    key,
    name: of.length === 1 ? (of[0]?.name ?? key) : commonName(of.map((leg) => leg.name), key),
    legs: of,
    needs: [...new Set(of.flatMap((leg) => leg.needs))].filter((need) => legs.has(need)),
    standing: loudest(of),
  }));
}

/** The standing of several jobs as one. */
export function loudest(jobs: readonly JobView[]): Standing {
  const all = jobs.map((job) => standing(job));
  return all.reduce((loud, next) => (LOUDEST.indexOf(next.word) < LOUDEST.indexOf(loud.word) ? next : loud), all[0] ?? standing({ status: 'waiting' }));
}

/** Needs that do not follow from other needs: what a drawing has to show. */
export function directNeeds(nodes: readonly GraphNode[]): Map<string, string[]> {
  const needs = new Map(nodes.map((node) => [node.key, node.needs]));
  const above = new Map<string, Set<string>>();
  const reach = (key: string, trail: ReadonlySet<string>): Set<string> => {
    const known = above.get(key);
    if (known) return known;
    const all = new Set<string>();
    // A document with a cycle is refused, but a drawing must not hang on one.
    if (trail.has(key)) return all;
    for (const need of needs.get(key) ?? []) {
      all.add(need);
      for (const further of reach(need, new Set(trail).add(key))) all.add(further);
    }
    above.set(key, all);
    return all;
  };
  return new Map(
    nodes.map((node) => [
      node.key,
      node.needs.filter((need) => !node.needs.some((other) => other !== need && reach(other, new Set([node.key])).has(need))),
    ]),
  );
}

function commonName(names: readonly string[], key: string): string {
  const first = names[0] ?? key;
  let length = first.length;
  for (const name of names) {
    let same = 0;
    while (same < length && name[same] === first[same]) same += 1;
    length = same;
  }
  const common = first.slice(0, length).replace(/[\s(,/]+$/, '').replace(/\s*\([^)]*$/, '').trim();
  return common === '' ? key : common;
}
