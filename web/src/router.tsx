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
import { auditSearch } from './routes/admin/audit-search';
import { FaultPage, MissingPage } from './shell/FaultPage';
import { Shell } from './shell/Shell';

interface Context {
  readonly queries: QueryClient;
}

const root = createRootRouteWithContext<Context>()({ component: Outlet });

const signIn = createRoute({
  getParentRoute: () => root,
  path: '/sign-in',
  validateSearch: (search: Record<string, unknown>): { back?: string } =>
    // Only addresses of this site: nobody is sent elsewhere by a link.
    typeof search['back'] === 'string' && /^\/(?![/\\])/.test(search['back']) ? { back: search['back'] } : {},
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
  component: lazyRouteComponent(() => import('./routes/runs/RunsPage'), 'RunsPage'),
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
    path: 'values',
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
  inside.addChildren([index, runs, admin.addChildren([adminIndex, ...matters])]),
]);

/** Makes the router; addresses are below `/ui`. */
export function makeRouter(queries: QueryClient) {
  return createRouter({
    routeTree: tree,
    basepath: '/ui',
    context: { queries },
    defaultPreload: 'intent',
    defaultErrorComponent: FaultPage,
    defaultNotFoundComponent: MissingPage,
    scrollRestoration: true,
  });
}

declare module '@tanstack/react-router' {
  interface Register {
    router: ReturnType<typeof makeRouter>;
  }
}
