/** The frame of administration: one page for each matter, beside a list of them. */
import { Link, Outlet, useLocation } from '@tanstack/react-router';
import { useEffect, useRef } from 'react';
import { useMay } from '../../lib/session';
import { Empty } from '../../ui/states';
import './admin.css';

const MATTERS = [
  ['/admin/tokens', 'Tokens'],
  ['/admin/users', 'Users'],
  ['/admin/projects', 'Projects'],
  ['/admin/values', 'Secrets and variables'],
  ['/admin/environments', 'Environments'],
  ['/admin/repositories', 'Repositories'],
  ['/admin/storage', 'Storage'],
  ['/admin/audit', 'Audit log'],
  ['/admin/health', 'Health'],
] as const;

/** The frame; the matter itself is the child route. */
export function AdminPage() {
  const admin = useMay('admin');
  const nav = useRef<HTMLElement>(null);
  const { pathname } = useLocation();
  // On a phone the list is a strip that scrolls: the current matter has to be in sight.
  useEffect(() => {
    nav.current?.querySelector('[aria-current]')?.scrollIntoView({ block: 'nearest', inline: 'center' });
  }, [pathname]);
  if (!admin) {
    return (
      <div className="page">
        <Empty title="Only admins see this" commands={['fleetfoot user update NAME --role admin']}>
          Your role does not allow administration. An admin can change it.
        </Empty>
      </div>
    );
  }
  return (
    <div className="page admin">
      <nav ref={nav} aria-label="Administration" className="admin-nav">
        {MATTERS.map(([to, label]) => (
          <Link key={to} to={to} className="admin-link" activeProps={{ 'aria-current': 'page' }}>
            {label}
          </Link>
        ))}
      </nav>
      <div className="admin-body">
        <Outlet />
      </div>
    </div>
  );
}
