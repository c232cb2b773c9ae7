/** Numbers at a glance: a name, a value, and a note. */
import type { ReactNode } from 'react';
import './tiles.css';

/** One number. */
export interface Tile {
  readonly name: string;
  readonly value: ReactNode;
  readonly note?: ReactNode;
}

/** The numbers, side by side. */
export function Tiles({ tiles }: { tiles: readonly Tile[] }) {
  return (
    <dl className="tiles">
      {tiles.map((tile) => (
        <div key={tile.name} className="card tile">
          <dt>{tile.name}</dt>
          <dd>{tile.value}</dd>
          {tile.note != null && <dd className="tile-note">{tile.note}</dd>}
        </div>
      ))}
    </dl>
  );
}
