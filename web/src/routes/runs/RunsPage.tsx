/** The list of runs. */
import { usePageTitle } from '../../lib/title';

/** The page. */
export function RunsPage() {
  usePageTitle('Runs');
  return (
    <div className="page">
      <h1>Runs</h1>
    </div>
  );
}
