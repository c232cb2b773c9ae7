/** A table of things: heads, rows, an empty state. For lists that fit a page; long ones are virtual. */
import type { ReactNode } from 'react';
import './data-table.css';

/** One column. */
export interface Column<Row> {
  /** Its head; an empty one is for actions. */
  readonly head: string;
  readonly cell: (row: Row) => ReactNode;
  /** Numbers stand at the right. */
  readonly numeric?: boolean;
  /** Left out on a phone. */
  readonly wide?: boolean;
}

/** The table. `label` names it for readers; `empty` stands in its place without rows. */
export function DataTable<Row>(props: {
  label: string;
  columns: readonly Column<Row>[];
  rows: readonly Row[];
  id: (row: Row) => string | number;
  empty: ReactNode;
}) {
  if (props.rows.length === 0) return props.empty == null ? null : <div className="table-none">{props.empty}</div>;
  const classes = (column: Column<Row>): string =>
    [column.head === '' && 'actions', column.numeric && 'numeric', column.wide && 'hide-narrow'].filter(Boolean).join(' ');
  return (
    <div className="table-scroll" tabIndex={0} role="group" aria-label={props.label}>
      <table className="data-table">
        <thead>
          <tr>
            {props.columns.map((column) => (
              <th key={column.head} scope="col" className={classes(column)}>
                {column.head === '' ? <span className="visually-hidden">Actions</span> : column.head}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {props.rows.map((row) => (
            <tr key={props.id(row)}>
              {props.columns.map((column) => (
                <td key={column.head} className={classes(column)}>
                  {column.cell(row)}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
