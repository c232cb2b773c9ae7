/** Projects: names under which runs, repositories, environments and values belong together. */
import { queryOptions, useQuery } from '@tanstack/react-query';
import { Link } from '@tanstack/react-router';
import { answer, api } from '../../api/client';
import type { EnvironmentView, RepositoryView, RunView } from '../../api/schema.gen';
import { DataTable, type Column } from '../../ui/DataTable';
import { Empty } from '../../ui/states';
import { standing, StatusIcon } from '../../ui/Status';
import { Ago } from '../../ui/Time';
import { Fetched, Matter } from './parts';

/** One project with what belongs to it. */
interface Project {
  readonly name: string;
  readonly repositories: readonly RepositoryView[];
  readonly environments: readonly EnvironmentView[];
}

const projectsQuery = queryOptions({
  queryKey: ['projects'],
  queryFn: async ({ signal }): Promise<Project[]> => {
    const [{ projects }, { items: repositories }, { items: environments }] = await Promise.all([
      answer(api.GET('/api/v1/runs/facets', { signal })),
      answer(api.GET('/api/v1/repos', { signal })),
      answer(api.GET('/api/v1/environments', { signal })),
    ]);
    const names = new Set([...projects, ...repositories.map((each) => each.project), ...environments.map((each) => each.project)]);
    return [...names].sort((a, b) => a.localeCompare(b)).map((name) => ({
      name,
      repositories: repositories.filter((each) => each.project === name),
      environments: environments.filter((each) => each.project === name),
    }));
  },
});

function latestQuery(project: string) {
  return queryOptions({
    queryKey: ['runs', 'latest', project],
    queryFn: async ({ signal }) => {
      const page = await answer(api.GET('/api/v1/runs', { params: { query: { project, limit: 1 } }, signal }));
      return (page.items[0] as RunView | undefined) ?? null;
    },
  });
}

function Latest({ project }: { project: string }) {
  const { data: run } = useQuery(latestQuery(project));
  if (run === undefined) return null;
  if (run === null) return <span className="muted">none yet</span>;
  return (
    <Link to="/runs/$run" params={{ run: String(run.id) }} className="row">
      <StatusIcon of={standing(run)} /> <span className="cut">{run.title} #{run.number}</span>
      <span className="muted nowrap hide-narrow"><Ago at={run.created_at} /></span>
    </Link>
  );
}

const COLUMNS: readonly Column<Project>[] = [
  { head: 'Project', cell: ({ name }) => <Link to="/runs" search={{ project: name }}><strong>{name}</strong></Link> },
  { head: 'Latest run', cell: ({ name }) => <Latest project={name} /> },
  { head: 'Repositories', cell: ({ repositories }) => repositories.map((each) => each.name).join(', ') || <span className="muted">none</span>, wide: true },
  { head: 'Environments', cell: ({ environments }) => environments.map((each) => each.name).join(', ') || <span className="muted">none</span>, wide: true },
  { head: 'Secrets and variables', cell: ({ name }) => <Link to="/admin/values" search={{ project: name }} aria-label={`Show secrets and variables of ${name}`}>Show</Link> },
];

/** The page. */
export function Projects() {
  const projects = useQuery(projectsQuery);
  return (
    <Matter title="Projects" intro="What belongs together: runs, repositories, environments, secrets and variables. A project exists as soon as something names it.">
      <Fetched query={projects}>
        {(rows) => (
          <DataTable label="Projects" columns={COLUMNS} rows={rows} id={(row) => row.name}
            empty={<Empty title="No projects yet" commands={['fleetfoot submit ci.yml --project NAME']} />} />
        )}
      </Fetched>
    </Matter>
  );
}
