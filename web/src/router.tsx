/**
 * Every page and its address. Pages are loaded when they are visited; what the
 * first load needs is the shell and the list of runs alone. A page for signed-in
 * people is a child of `inside`.
 */
import type { QueryClient } from '@tanstack/react-query';
import {
  createRootRouteWithContext, createRoute, createRouter, lazyRouteComponent, Outlet, redirect,
} from '@tanstack/react-router';
import { sessionQuery } from './api/session';
import { isRange, type Range } from './routes/fleet/data';
import { auditSearch } from './routes/admin/audit-search';
import { isRunView, type RunViewName } from './routes/run/views';
import { filterOf } from './routes/runs/filter';
import { FaultPage, MissingPage } from './shell/FaultPage';
import { Shell } from './shell/Shell';

interface Context {
  readonly queries: QueryClient;
}

// What the functions below leave out would still reach pages as it stands in
// the address; they say `undefined` for what is not right.

/** Which attempt of a job an address names; none is the current one. */
function attemptOf(search: Record<string, unknown>): { attempt?: number | undefined } {
  const attempt = Number(search['attempt']);
  return { attempt: Number.isInteger(attempt) && attempt > 0 ? attempt : undefined };
}

/** An address of this site: nobody is sent elsewhere by a link. */
function ownAddress(address: unknown): string | undefined {
  return typeof address === 'string' && /^\/ui\/(?![/\\])/.test(address) ? address : undefined;
}

/** Whose secrets and variables an address names. */
function scopeOf(search: Record<string, unknown>): { project?: string | undefined; environment?: string | undefined } {
  const word = (value: unknown): string | undefined => (typeof value === 'string' && value !== '' ? value : undefined);
  return { project: word(search['project']), environment: word(search['environment']) };
}

/** The range of time in an address. */
function rangeOf(search: Record<string, unknown>): { range?: Range } {
  return isRange(search['range']) ? { range: search['range'] } : {};
}

const root = createRootRouteWithContext<Context>()({ component: Outlet });

const signIn = createRoute({
  getParentRoute: () => root,
  path: '/sign-in',
  validateSearch: (search: Record<string, unknown>): { back?: string | undefined; error?: string | undefined } => ({
    back: ownAddress(search['back']),
    error: typeof search['error'] === 'string' ? search['error'] : undefined,
  }),
  component: lazyRouteComponent(() => import('./routes/SignIn'), 'SignIn'),
});

const inside = createRoute({
  getParentRoute: () => root,
  id: 'inside',
  beforeLoad: async ({ context, location }) => {
    const session = await context.queries.ensureQueryData(sessionQuery);
    if (!session) throw redirect({ to: '/sign-in', search: { back: location.publicHref } });
    return { session };
  },
  component: Shell,
});

const index = createRoute({
  getParentRoute: () => inside,
  path: '/',
  beforeLoad: () => {
    throw redirect({ to: '/runs', replace: true });
  },
});

const runs = createRoute({
  getParentRoute: () => inside,
  path: '/runs',
  validateSearch: filterOf,
  component: lazyRouteComponent(() => import('./routes/runs/RunsPage'), 'RunsPage'),
});

const run = createRoute({
  getParentRoute: () => inside,
  path: '/runs/$run',
  component: lazyRouteComponent(() => import('./routes/run/RunPage'), 'RunPage'),
});

const overview = createRoute({
  getParentRoute: () => run,
  path: '/',
  validateSearch: (search: Record<string, unknown>): { view?: RunViewName | undefined } => ({
    view: isRunView(search['view']) ? search['view'] : undefined,
  }),
  component: lazyRouteComponent(() => import('./routes/run/Overview'), 'Overview'),
});

const job = createRoute({
  getParentRoute: () => run,
  path: '/jobs/$job',
  validateSearch: attemptOf,
  component: lazyRouteComponent(() => import('./routes/run/JobPage'), 'JobPage'),
});

const log = createRoute({
  getParentRoute: () => inside,
  path: '/jobs/$job/log',
  validateSearch: attemptOf,
  component: lazyRouteComponent(() => import('./log/LogPage'), 'LogPage'),
});

const fleet = createRoute({
  getParentRoute: () => inside,
  path: '/runners',
  validateSearch: (search: Record<string, unknown>): { range?: Range; of?: string } => ({
    ...rangeOf(search),
    ...(typeof search['of'] === 'string' ? { of: search['of'] } : {}),
  }),
  component: lazyRouteComponent(() => import('./routes/fleet/FleetPage'), 'FleetPage'),
});

const runner = createRoute({
  getParentRoute: () => inside,
  path: '/runners/$runner',
  validateSearch: rangeOf,
  component: lazyRouteComponent(() => import('./routes/fleet/RunnerPage'), 'RunnerPage'),
});

const admin = createRoute({
  getParentRoute: () => inside,
  path: '/admin',
  component: lazyRouteComponent(() => import('./routes/admin/AdminPage'), 'AdminPage'),
});

const adminIndex = createRoute({
  getParentRoute: () => admin,
  path: '/',
  beforeLoad: () => {
    throw redirect({ to: '/admin/tokens', replace: true });
  },
});

const matters = [
  createRoute({
    getParentRoute: () => admin,
    path: 'tokens',
    component: lazyRouteComponent(() => import('./routes/admin/Tokens'), 'Tokens'),
  }),
  createRoute({
    getParentRoute: () => admin,
    path: 'users',
    component: lazyRouteComponent(() => import('./routes/admin/Users'), 'Users'),
  }),
  createRoute({
    getParentRoute: () => admin,
    path: 'projects',
    component: lazyRouteComponent(() => import('./routes/admin/Projects'), 'Projects'),
  }),
  createRoute({
    getParentRoute: () => admin,
    path: 'values',
    validateSearch: scopeOf,
    component: lazyRouteComponent(() => import('./routes/admin/Values'), 'Values'),
  }),
  createRoute({
    getParentRoute: () => admin,
    path: 'environments',
    component: lazyRouteComponent(() => import('./routes/admin/Environments'), 'Environments'),
  }),
  createRoute({
    getParentRoute: () => admin,
    path: 'repositories',
    component: lazyRouteComponent(() => import('./routes/admin/Repositories'), 'Repositories'),
  }),
  createRoute({
    getParentRoute: () => admin,
    path: 'storage',
    component: lazyRouteComponent(() => import('./routes/admin/Storage'), 'Storage'),
  }),
  createRoute({
    getParentRoute: () => admin,
    path: 'audit',
    validateSearch: auditSearch,
    component: lazyRouteComponent(() => import('./routes/admin/Audit'), 'Audit'),
  }),
  createRoute({
    getParentRoute: () => admin,
    path: 'health',
    component: lazyRouteComponent(() => import('./routes/admin/HealthPage'), 'HealthPage'),
  }),
] as const;

const tree = root.addChildren([
  signIn,
  inside.addChildren([index, runs, run.addChildren([overview, job]), log, fleet, runner, admin.addChildren([adminIndex, ...matters])]),
]);

/** Makes the router; addresses are below `/ui`. */
export function makeRouter(queries: QueryClient) {
  return createRouter({
    routeTree: tree,
    basepath: '/ui',
    context: { queries },
    defaultPreload: 'intent',
    // Plain pairs, so that people can write and read addresses: no JSON in them.
    parseSearch: (search) => Object.fromEntries(new URLSearchParams(search)),
    stringifySearch,
    defaultErrorComponent: FaultPage,
    defaultNotFoundComponent: MissingPage,
    scrollRestoration: true,
  });
}

function stringifySearch(search: Record<string, unknown>): string {
  const pairs = Object.entries(search).filter(([, value]) => value !== undefined && value !== null && value !== '');
  const text = new URLSearchParams(pairs.map(([name, value]) => [name, String(value)])).toString();
  return text === '' ? '' : `?${text}`;
}

declare module '@tanstack/react-router' {
  interface Register {
    router: ReturnType<typeof makeRouter>;
  }
}
