/** The exact commands and files that make a machine a runner of this server. Pure. */

/** What the commands need to know. */
export interface Registration {
  /** Address of the server, as runners reach it. */
  readonly server: string;
  /** The registration token. */
  readonly token: string;
  /** Labels that the runner offers. */
  readonly labels: readonly string[];
  /** Version of the server. */
  readonly version: string;
}

/** One way to run a runner. */
export interface Way {
  readonly id: string;
  readonly label: string;
  /** What has to be there. */
  readonly note: string;
  readonly text: (registration: Registration) => string;
}

/** A word for a POSIX shell. */
export function quoted(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

/** A text for YAML: JSON's strings are YAML's. */
function yaml(text: string): string {
  return JSON.stringify(text);
}

/** A text for YAML whose reader replaces variables: both Compose and Kubernetes take two dollars for one. */
function literal(text: string): string {
  return yaml(text.replaceAll('$', '$$$$'));
}

function labelFlags(labels: readonly string[]): string {
  return labels.map((label) => ` --label ${quoted(label)}`).join('');
}

function shell({ server, token, labels }: Registration): string {
  return `fleetfoot runner up --server ${quoted(server)} --token ${quoted(token)}${labelFlags(labels)}`;
}

function systemd({ server, token, labels }: Registration): string {
  const settings = [
    `server = ${JSON.stringify(server)}`,
    `token = ${JSON.stringify(token)}`,
    ...(labels.length > 0 ? [`labels = ${JSON.stringify(labels)}`] : []),
  ];
  return `sudo useradd --system --home-dir /var/lib/fleetfoot-runner fleetfoot
sudo install -d -m 0755 /etc/fleetfoot
sudo install -m 0640 -g fleetfoot /dev/stdin /etc/fleetfoot/runner.toml <<'END'
${settings.join('\n')}
END
sudo tee /etc/systemd/system/fleetfoot-runner.service >/dev/null <<'END'
[Unit]
Description=Fleetfoot runner
Wants=network-online.target
After=network-online.target

[Service]
User=fleetfoot
ExecStart=/usr/local/bin/fleetfoot runner up --config /etc/fleetfoot/runner.toml
StateDirectory=fleetfoot-runner
Delegate=yes
KillMode=mixed
TimeoutStopSec=1h
Restart=on-failure
LimitNOFILE=65536

[Install]
WantedBy=multi-user.target
END
sudo systemctl enable --now fleetfoot-runner`;
}

function compose({ server, token, labels, version }: Registration): string {
  return `services:
  runner:
    image: ${yaml(`fleetfoot:${version}`)}
    command: [runner, up]
    restart: unless-stopped
    # What runs is finished before it stops.
    stop_grace_period: 1h
    environment:
      FLEETFOOT_RUNNER_SERVER: ${literal(server)}
      FLEETFOOT_RUNNER_TOKEN: ${literal(token)}
      FLEETFOOT_RUNNER_LABELS: ${literal(labels.join(','))}
    volumes:
      - runner:/var/lib/fleetfoot-runner
volumes:
  runner:
`;
}

function kubernetes({ server, token, labels, version }: Registration): string {
  return `kubectl apply -f - <<'END'
apiVersion: v1
kind: Secret
metadata:
  name: fleetfoot-runner
stringData:
  token: ${yaml(token)}
---
apiVersion: apps/v1
kind: StatefulSet
metadata:
  name: fleetfoot-runner
spec:
  serviceName: fleetfoot-runner
  replicas: 1
  selector:
    matchLabels: { app: fleetfoot-runner }
  template:
    metadata:
      labels: { app: fleetfoot-runner }
    spec:
      # What runs is finished before the pod goes.
      terminationGracePeriodSeconds: 3600
      automountServiceAccountToken: false
      securityContext: { runAsNonRoot: true, runAsUser: 1000, runAsGroup: 1000, fsGroup: 1000 }
      containers:
        - name: runner
          image: ${yaml(`fleetfoot:${version}`)}
          args: [runner, up]
          env:
            - { name: FLEETFOOT_RUNNER_SERVER, value: ${literal(server)} }
            - { name: FLEETFOOT_RUNNER_LABELS, value: ${literal(labels.join(','))} }
            - name: FLEETFOOT_RUNNER_TOKEN
              valueFrom:
                secretKeyRef: { name: fleetfoot-runner, key: token }
          volumeMounts:
            - { name: work, mountPath: /var/lib/fleetfoot-runner }
  volumeClaimTemplates:
    - metadata:
        name: work
      spec:
        accessModes: [ReadWriteOnce]
        resources:
          requests: { storage: 20Gi }
END`;
}

const IMAGE = 'The image is made by `make image` in a clone of Fleetfoot;';

/** Every way, the simplest first. */
export const WAYS: readonly Way[] = [
  { id: 'shell', label: 'Shell', note: 'On the machine that shall run jobs, with the binary on its PATH:', text: shell },
  { id: 'systemd', label: 'systemd', note: 'A service that starts with the machine; the binary lies in /usr/local/bin:', text: systemd },
  { id: 'compose', label: 'Docker Compose', note: `compose.yaml, then docker compose up -d. ${IMAGE} tell Compose where you pushed it.`, text: compose },
  { id: 'kubernetes', label: 'Kubernetes', note: `A runner that keeps its identity when its pod moves. ${IMAGE} name the registry to which you pushed it.`, text: kubernetes },
];
