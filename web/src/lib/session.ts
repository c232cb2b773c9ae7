/** The session for components inside the shell, where somebody is always signed in. */
import { useQuery } from '@tanstack/react-query';
import { mayAct, sessionQuery, type Role, type Session } from '../api/session';

const NOBODY: Session = { name: '', display_name: '', role: 'read_only', method: 'token', actor: '' };

/** Who is signed in. In the moment of signing out it is somebody who may nothing. */
export function useSession(): Session {
  return useQuery(sessionQuery).data ?? NOBODY;
}

/** Whether the person may do what `role` may. The server checks it too. */
export function useMay(role: Role): boolean {
  return mayAct(useSession(), role);
}
