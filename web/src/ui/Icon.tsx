/** The icons of the dashboard, drawn on a grid of 16. They are decoration: names stand beside them. */

const PATHS = {
  runs: 'M2.5 3.5h11M2.5 8h11M2.5 12.5h7',
  fleet: 'M2.5 3h11v4h-11zM2.5 9h11v4h-11zM5 5h.01M5 11h.01',
  admin: 'M8 5.8a2.2 2.2 0 1 0 0 4.4 2.2 2.2 0 0 0 0-4.4ZM8 1.8v2M8 12.2v2M1.8 8h2M12.2 8h2M3.6 3.6 5 5M11 11l1.4 1.4M12.4 3.6 11 5M5 11l-1.4 1.4',
  plus: 'M8 3v10M3 8h10',
  search: 'M7 2.5a4.5 4.5 0 1 0 0 9 4.5 4.5 0 0 0 0-9ZM10.4 10.4 14 14',
  help: 'M8 1.8a6.2 6.2 0 1 0 0 12.4A6.2 6.2 0 0 0 8 1.8ZM6.2 6.2a1.9 1.9 0 1 1 2.6 1.8c-.5.2-.8.6-.8 1.1v.2M8 11.5h.01',
  sun: 'M8 5a3 3 0 1 0 0 6 3 3 0 0 0 0-6ZM8 1.5v1M8 13.5v1M1.5 8h1M13.5 8h1M3.4 3.4l.7.7M11.9 11.9l.7.7M12.6 3.4l-.7.7M4.1 11.9l-.7.7',
  moon: 'M13.5 9.6A5.8 5.8 0 0 1 6.4 2.5a5.8 5.8 0 1 0 7.1 7.1Z',
  system: 'M2 3h12v8H2zM6 14h4M8 11v3',
  user: 'M8 2.5a2.8 2.8 0 1 0 0 5.6 2.8 2.8 0 0 0 0-5.6ZM2.8 13.8c.6-2.6 2.7-4 5.2-4s4.6 1.4 5.2 4',
  check: 'm3 8.5 3.3 3.3L13 4.8',
  cross: 'm4 4 8 8M12 4l-8 8',
  minus: 'M4 8h8',
  dot: 'M8 6.5a1.5 1.5 0 1 0 0 3 1.5 1.5 0 0 0 0-3Z',
  ring: 'M8 2.5a5.5 5.5 0 1 0 0 11 5.5 5.5 0 0 0 0-11Z',
  arc: 'M8 2.5A5.5 5.5 0 1 1 2.5 8',
  clock: 'M8 2a6 6 0 1 0 0 12A6 6 0 0 0 8 2ZM8 5v3.3l2.2 1.3',
  hand: 'M8 3.5V8l3 2',
  slash: 'M4.5 11.5l7-7',
  pause: 'M8 2a6 6 0 1 0 0 12A6 6 0 0 0 8 2ZM6.6 6v4M9.4 6v4',
  skip: 'M8 2a6 6 0 1 0 0 12A6 6 0 0 0 8 2ZM4 12 12 4',
  alert: 'M8 2.3 14.3 13H1.7zM8 6.5v3M8 11.3h.01',
  note: 'M8 2a6 6 0 1 0 0 12A6 6 0 0 0 8 2ZM8 7.5v3.3M8 5.2h.01',
  down: 'm4 6 4 4 4-4',
  right: 'm6 4 4 4-4 4',
  left: 'm10 4-4 4 4 4',
  branch: 'M5 2.5v8M5 10.5a1.6 1.6 0 1 0 0 3.2 1.6 1.6 0 0 0 0-3.2ZM11 2.6a1.6 1.6 0 1 0 0 3.2 1.6 1.6 0 0 0 0-3.2ZM11 5.8c0 2.6-3.5 2.2-5.4 4.8',
  commit: 'M8 5.3a2.7 2.7 0 1 0 0 5.4 2.7 2.7 0 0 0 0-5.4ZM1.5 8h3.8M10.7 8h3.8',
  bolt: 'M8.8 1.8 3.5 9h4l-.8 5.2L12.5 7h-4z',
  repeat: 'M3 7a5 5 0 0 1 9-2.2M13 2v3h-3M13 9a5 5 0 0 1-9 2.2M3 14v-3h3',
  stop: 'M4 4h8v8H4z',
  download: 'M8 2.5v8M4.8 7.5 8 10.7l3.2-3.2M2.5 13.5h11',
  box: 'M2.5 5 8 2l5.5 3v6L8 14l-5.5-3zM2.5 5 8 8l5.5-3M8 8v6',
  menu: 'M2.5 4.5h11M2.5 8h11M2.5 11.5h11',
  out: 'M6.5 2.5h-4v11h4M10 5l3 3-3 3M13 8H6',
  command: 'M3.5 4.5 7 8l-3.5 3.5M8 12h5',
  filter: 'M2 3.5h12L9.5 9v4l-3-1.5V9z',
  external: 'M6.5 3.5h-4v10h10v-4M9 2.5h4.5V7M13.2 2.8 7.5 8.5',
  copy: 'M5.5 5.5h8v8h-8zM10.5 5.5v-3h-8v8h3',
} as const;

/** Name of an icon. */
export type IconName = keyof typeof PATHS;

/** One icon; `label` only where no text stands beside it. */
export function Icon({ name, className, label }: { name: IconName; className?: string; label?: string }) {
  return (
    <svg
      className={className ? `icon ${className}` : 'icon'}
      viewBox="0 0 16 16"
      fill="none"
      stroke="currentColor"
      strokeWidth="1.6"
      strokeLinecap="round"
      strokeLinejoin="round"
      {...(label ? { role: 'img', 'aria-label': label } : { 'aria-hidden': true })}
    >
      <path d={PATHS[name]} />
    </svg>
  );
}
