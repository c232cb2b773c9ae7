/** The parts of the dashboard that the navigation and the palette lead to. */
import type { LinkProps } from '@tanstack/react-router';
import { mayAct, type Role, type Session } from '../api/session';
import type { IconName } from '../ui/Icon';

/** One part. */
export interface Section {
  readonly to: NonNullable<LinkProps['to']>;
  readonly label: string;
  readonly icon: IconName;
  /** Who sees it. */
  readonly role: Role;
  /** Key after `g` that leads there. */
  readonly key: string;
}

const ALL: readonly Section[] = [
  { to: '/runs', label: 'Runs', icon: 'runs', role: 'read_only', key: 'r' },
  { to: '/runners', label: 'Fleet', icon: 'fleet', role: 'read_only', key: 'f' },
  { to: '/admin', label: 'Administration', icon: 'admin', role: 'admin', key: 'a' },
];

/** The parts that a person may see. */
export function sections(session: Session): readonly Section[] {
  return ALL.filter((section) => mayAct(session, section.role));
}
