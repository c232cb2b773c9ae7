/**
 * The frame around every page for signed-in people: bar, navigation, banner,
 * messages, palette and help. It knows where pages are and nothing of what they show.
 */
import { useQueryClient } from '@tanstack/react-query';
import { Link, Outlet, useRouter } from '@tanstack/react-router';
import { lazy, Suspense, useEffect, useRef, useState } from 'react';
import { sessionQuery, signOut, type Session } from '../api/session';
import { useSession } from '../lib/session';
import { setTheme, useTheme, type Theme } from '../lib/theme';
import { useKeys } from '../lib/keys';
import { openFeed } from '../live/feed';
import { Icon, type IconName } from '../ui/Icon';
import { Mark } from '../ui/Mark';
import { Menu, MenuChoice, MenuItem, MenuLine } from '../ui/Menu';
import { complain, Toasts } from '../ui/toasts';
import { Banner } from './Banner';
import { Help } from './Help';
import { sections } from './sections';
import './shell.css';

const Palette = lazy(() => import('./Palette'));
const OwnPassword = lazy(() => import('./OwnPassword'));

const THEMES: readonly { value: Theme; label: string; icon: IconName }[] = [
  { value: 'system', label: 'As the system', icon: 'system' },
  { value: 'light', label: 'Light', icon: 'sun' },
  { value: 'dark', label: 'Dark', icon: 'moon' },
];

/** How soon the second key of two has to follow, milliseconds. */
const GO_MS = 1_200;

/** The frame. */
export function Shell() {
  const session = useSession();
  const [help, setHelp] = useState(false);
  const [palette, setPalette] = useState(false);
  const queries = useQueryClient();
  // The server ends the stream when the role of the person changes: what they may do is asked anew.
  useEffect(() => openFeed(() => void queries.invalidateQueries({ queryKey: sessionQuery.queryKey })), [queries]);
  useShellKeys(session, () => setHelp(true), () => setPalette((open) => !open));
  return (
    <>
      <a className="skip-link" href="#content">
        Skip to content
      </a>
      <header className="bar">
        <Link to="/runs" className="brand" aria-label="Fleetfoot, runs">
          <Mark />
          <span className="hide-narrow">Fleetfoot</span>
        </Link>
        <nav className="bar-nav" aria-label="Main">
          {sections(session).map((section) => (
            <Link key={section.to} to={section.to} className="bar-link" activeProps={{ 'aria-current': 'page' }}>
              <Icon name={section.icon} />
              <span>{section.label}</span>
            </Link>
          ))}
        </nav>
        <span className="grow" />
        <button type="button" className="button ghost" onClick={() => setPalette(true)} aria-label="Search and commands, Ctrl K" aria-keyshortcuts="Control+K">
          <Icon name="search" />
          <kbd className="kbd hide-narrow">Ctrl K</kbd>
        </button>
        <button type="button" className="button ghost icon-only hide-narrow" onClick={() => setHelp(true)} aria-label="Keys and help" aria-keyshortcuts="?">
          <Icon name="help" />
        </button>
        <PersonMenu session={session} />
      </header>
      <Banner />
      <main id="content" tabIndex={-1}>
        <Outlet />
      </main>
      <Toasts />
      <Help open={help} onOpenChange={setHelp} />
      {palette && (
        <Suspense fallback={null}>
          <Palette session={session} onClose={() => setPalette(false)} onHelp={() => setHelp(true)} />
        </Suspense>
      )}
    </>
  );
}

/** Keys that work on every page. */
function useShellKeys(session: Session, onHelp: () => void, onPalette: () => void): void {
  const router = useRouter();
  const armed = useRef(0);
  const parts = sections(session).map(({ key, to }) => [
    key,
    () => {
      if (Date.now() - armed.current >= GO_MS) return false;
      return void router.navigate({ to });
    },
  ]);
  useKeys({
    // `g` and then the key of a part, shortly after it. Alone they are the page's own.
    g: () => {
      armed.current = Date.now();
      return false;
    },
    ...Object.fromEntries(parts),
    '?': onHelp,
    'mod+k': onPalette,
  });
}

function PersonMenu({ session }: { session: Session }) {
  const theme = useTheme();
  const queries = useQueryClient();
  const router = useRouter();
  const [password, setPassword] = useState(false);
  const leave = async (): Promise<void> => {
    try {
      await signOut(queries);
      await router.navigate({ to: '/sign-in' });
    } catch (error) {
      complain(error, 'Signing out');
    }
  };
  return (
    <>
      <Menu
        trigger={
          <button type="button" className="button ghost" aria-label={`Menu of ${session.display_name}`}>
            <Icon name="user" />
            <span className="hide-narrow cut person">{session.display_name}</span>
            <Icon name="down" className="hide-narrow" />
          </button>
        }
      >
        <p className="menu-label">
          {session.display_name} · {session.role.replace('_', '-')}
        </p>
        <MenuLine />
        <MenuChoice label="Theme" value={theme} onChange={setTheme} choices={THEMES} />
        <MenuLine />
        {session.method === 'password' && <MenuItem onSelect={() => setPassword(true)}>Change password…</MenuItem>}
        <MenuItem icon="out" onSelect={() => void leave()}>
          Sign out
        </MenuItem>
      </Menu>
      {password && session.user != null && (
        <Suspense fallback={null}>
          <OwnPassword user={session.user} onClose={() => setPassword(false)} />
        </Suspense>
      )}
    </>
  );
}
