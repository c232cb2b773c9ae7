/** The choice of how much time charts show. */
import { RANGES, type Range } from './data';

/** One of the ranges is pressed. */
export function Ranges({ range, onChange }: { range: Range; onChange: (range: Range) => void }) {
  return (
    <div role="group" aria-label="Time shown" className="quick">
      {(Object.keys(RANGES) as Range[]).map((each) => (
        <button key={each} type="button" className="quick-choice" aria-pressed={each === range} onClick={() => onChange(each)}>
          {each}
        </button>
      ))}
    </div>
  );
}
