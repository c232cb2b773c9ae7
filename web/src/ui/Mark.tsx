/** The sign of the product; decoration beside its name. */
import './mark.css';

/** The sign. */
export function Mark() {
  return (
    <svg viewBox="0 0 32 32" className="mark" aria-hidden="true">
      <rect width="32" height="32" rx="8" />
      <path d="M11 24V8h11M11 16h8" />
    </svg>
  );
}
