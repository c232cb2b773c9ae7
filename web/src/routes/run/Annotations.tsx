/** Notices, warnings and errors that steps raised. */
import { Link } from '@tanstack/react-router';
import type { Annotation } from '../../api/types';
import { Icon, type IconName } from '../../ui/Icon';

const LEVELS: Record<string, { icon: IconName; tone: string; word: string }> = {
  error: { icon: 'cross', tone: 'bad', word: 'Error' },
  warning: { icon: 'alert', tone: 'wait', word: 'Warning' },
};
const NOTICE = { icon: 'note', tone: 'busy', word: 'Notice' } as const;

/** An annotation with the job that raised it, where that has to be said. */
export interface Raised {
  readonly annotation: Annotation;
  readonly job?: { readonly id: number; readonly run: number; readonly name: string };
}

/** The list, errors first. */
export function Annotations({ all }: { all: readonly Raised[] }) {
  const rank = (level: string): number => (level === 'error' ? 0 : level === 'warning' ? 1 : 2);
  const sorted = [...all].sort((a, b) => rank(a.annotation.level) - rank(b.annotation.level));
  return (
    <ul className="annotations">
      {sorted.map(({ annotation, job }, index) => {
        const level = LEVELS[annotation.level] ?? NOTICE;
        return (
          <li key={index}>
            <Icon name={level.icon} className={`tone-${level.tone}`} label={level.word} />
            <div className="grow">
              <p className="annotation-text">
                {annotation.title && <strong>{annotation.title}: </strong>}
                {annotation.message}
              </p>
              <p className="muted annotation-where">
                {job && (
                  <Link to="/runs/$run/jobs/$job" params={{ run: String(job.run), job: String(job.id) }}>
                    {job.name}
                  </Link>
                )}
                {annotation.file && (
                  <span className="mono">
                    {annotation.file}
                    {annotation.line != null && `:${annotation.line}`}
                  </span>
                )}
              </p>
            </div>
          </li>
        );
      })}
    </ul>
  );
}
