/** The grids of the matrices of a run. */
import { Link } from '@tanstack/react-router';
import { standing, StatusIcon } from '../../ui/Status';
import { Lasted } from '../../ui/Time';
import type { GraphNode } from './graph';
import type { Grid } from './matrix';

/** One table for each node that has a matrix. */
export function MatrixView({ grids }: { grids: readonly { node: GraphNode; grid: Grid }[] }) {
  return (
    <div className="card-body stack">
      {grids.map(({ node, grid }) => (
        <div key={node.key} className="matrix" tabIndex={0} role="group" aria-label={`Matrix of ${node.name}`}>
          <table>
            <caption>{node.name}</caption>
            <thead>
              <tr>
                <th scope="col">
                  {grid.down.join(' · ')}
                  {grid.across && <span className="muted"> \ {grid.across}</span>}
                </th>
                {grid.columns.map((column) => (
                  <th key={column} scope="col">
                    {column === '' ? 'job' : column}
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
              {grid.rows.map((row) => (
                <tr key={row.title}>
                  <th scope="row">{row.title}</th>
                  {row.cells.map((leg, column) => {
                    if (!leg) return <td key={column} className="muted">–</td>;
                    const is = standing(leg);
                    return (
                      <td key={column}>
                        <Link to="/runs/$run/jobs/$job" params={{ run: String(leg.run), job: String(leg.id) }} className={`matrix-cell soft-${is.tone}`} title={leg.name}>
                          <StatusIcon of={is} silent />
                          <span>{is.word}</span>
                          <span className="job-time"><Lasted from={leg.started_at ?? null} to={leg.finished_at ?? (leg.status === 'completed' ? (leg.started_at ?? null) : null)} /></span>
                        </Link>
                      </td>
                    );
                  })}
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      ))}
    </div>
  );
}
