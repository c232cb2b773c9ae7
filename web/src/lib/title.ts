/** Title and icon of the page: they say what state the shown thing is in, also in a row of tabs. */
import { useEffect } from 'react';
import cancelled from '../icons/cancelled.svg';
import failure from '../icons/failure.svg';
import idle from '../icons/idle.svg';
import running from '../icons/running.svg';
import success from '../icons/success.svg';
import waiting from '../icons/waiting.svg';

const ICONS = { cancelled, failure, idle, running, success, waiting } as const;

/** State that an icon can show. */
export type PageState = keyof typeof ICONS;

/** Sets the page's title and icon while the calling component is shown. */
export function usePageTitle(title: string, state: PageState = 'idle'): void {
  useEffect(() => {
    document.title = title === '' ? 'Fleetfoot' : `${title} · Fleetfoot`;
    const link = document.querySelector<HTMLLinkElement>('link[rel="icon"]');
    if (link && link.getAttribute('href') !== ICONS[state]) link.href = ICONS[state];
  }, [title, state]);
}
