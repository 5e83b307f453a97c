/** Certificates and kubeconfigs of an embedded cluster: one CA, ECDSA P-256 keys, everything as PEM, valid for a year. */
import './reflect.ts';
import { webcrypto } from 'node:crypto';
import * as fs from 'node:fs/promises';
import * as path from 'node:path';
import * as x509 from '@peculiar/x509';
import { dump } from 'js-yaml';

/** A certificate and its private key (PKCS #8), both PEM. */
export interface KeyPair {
  readonly certificate: string;
  readonly key: string;
}

export interface Authority extends KeyPair {
  readonly issuer: x509.X509Certificate;
  readonly signingKey: webcrypto.CryptoKey;
}

const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
const YEAR_MS = 365 * 24 * 3_600_000;
/** Certificates are valid from a little before they are made: a node's clock may be set back by its next boot. */
const BACKDATE_MS = 3_600_000;

export async function createAuthority(commonName: string): Promise<Authority> {
  const keys = await generateKeys();
  const issuer = await x509.X509CertificateGenerator.createSelfSigned({
    ...validity(),
    serialNumber: serialNumber(),
    name: subject(commonName, []),
    signingAlgorithm: ALGORITHM,
    keys,
    extensions: [
      new x509.BasicConstraintsExtension(true, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.digitalSignature, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return { certificate: pem(issuer), key: await keyPem(keys.privateKey), issuer, signingKey: keys.privateKey };
}

/** A certificate for a server of these DNS names and IP addresses. */
export function createServerCertificate(ca: Authority, commonName: string, names: readonly string[]): Promise<KeyPair> {
  const alternatives = names.map((name) => ({ type: isAddress(name) ? ('ip' as const) : ('dns' as const), value: name }));
  return issue(ca, subject(commonName, []), x509.ExtendedKeyUsage.serverAuth, [new x509.SubjectAlternativeNameExtension(alternatives)]);
}

/** A certificate that the API server takes for this user and these groups. */
export function createClientCertificate(ca: Authority, user: string, groups: readonly string[]): Promise<KeyPair> {
  return issue(ca, subject(user, groups), x509.ExtendedKeyUsage.clientAuth, []);
}

/** A kubeconfig with everything in it. `server` is a URL. */
export function kubeconfigFor(server: string, caCertificate: string, user: string, client: KeyPair): string {
  const base64 = (text: string) => Buffer.from(text).toString('base64');
  return dump({
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [{ name: 'embedded', cluster: { server, 'certificate-authority-data': base64(caCertificate) } }],
    users: [{ name: user, user: { 'client-certificate-data': base64(client.certificate), 'client-key-data': base64(client.key) } }],
    contexts: [{ name: `${user}@embedded`, context: { cluster: 'embedded', user } }],
    'current-context': `${user}@embedded`,
  });
}

export interface ClusterPkiOptions {
  /** URL of the API server in the kubeconfigs. */
  readonly server: string;
  /** DNS names and addresses of the API server's certificate. */
  readonly names: readonly string[];
  /** Node whose kubelet gets a kubeconfig. */
  readonly nodeName: string;
}

/** Paths of the files that writeClusterPki writes, named as kubeadm names them. */
export interface ClusterPki {
  readonly caCert: string;
  readonly caKey: string;
  readonly apiserverCert: string;
  readonly apiserverKey: string;
  readonly adminConf: string;
  readonly kubeletConf: string;
  readonly controllerManagerConf: string;
  readonly schedulerConf: string;
  /** For writing more kubeconfigs. */
  readonly authority: Authority;
}

/**
 * Writes `pki/{ca,apiserver}.{crt,key}`, `admin.conf`, `kubelet.conf`, `controller-manager.conf` and `scheduler.conf` under the directory,
 * keys and kubeconfigs readable for their owner alone.
 */
export async function writeClusterPki(directory: string, options: ClusterPkiOptions): Promise<ClusterPki> {
  const authority = await createAuthority('kubernetes');
  const file = async (name: string, text: string, mode: number) => {
    const at = path.join(directory, name);
    await fs.writeFile(at, text, { mode });
    return at;
  };
  const kubeconfig = async (name: string, user: string, groups: readonly string[]) => {
    const client = await createClientCertificate(authority, user, groups);
    return file(name, kubeconfigFor(options.server, authority.certificate, user, client), 0o600);
  };
  await fs.mkdir(path.join(directory, 'pki'), { recursive: true, mode: 0o755 });
  const server = await createServerCertificate(authority, 'kube-apiserver', options.names);
  return {
    caCert: await file('pki/ca.crt', authority.certificate, 0o644),
    caKey: await file('pki/ca.key', authority.key, 0o600),
    apiserverCert: await file('pki/apiserver.crt', server.certificate, 0o644),
    apiserverKey: await file('pki/apiserver.key', server.key, 0o600),
    adminConf: await kubeconfig('admin.conf', 'kubernetes-admin', ['system:masters']),
    kubeletConf: await kubeconfig('kubelet.conf', `system:node:${options.nodeName}`, ['system:nodes']),
    controllerManagerConf: await kubeconfig('controller-manager.conf', 'system:kube-controller-manager', []),
    schedulerConf: await kubeconfig('scheduler.conf', 'system:kube-scheduler', []),
    authority,
  };
}

async function issue(ca: Authority, name: x509.JsonName, usage: x509.ExtendedKeyUsage, extra: readonly x509.Extension[]): Promise<KeyPair> {
  const keys = await generateKeys();
  const certificate = await x509.X509CertificateGenerator.create({
    ...validity(),
    serialNumber: serialNumber(),
    subject: name,
    issuer: ca.issuer.subjectName,
    publicKey: keys.publicKey,
    signingKey: ca.signingKey,
    signingAlgorithm: ALGORITHM,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([usage]),
      await x509.AuthorityKeyIdentifierExtension.create(ca.issuer),
      ...extra,
    ],
  });
  return { certificate: pem(certificate), key: await keyPem(keys.privateKey) };
}

function generateKeys(): Promise<webcrypto.CryptoKeyPair> {
  return webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);
}

function validity(): { notBefore: Date; notAfter: Date } {
  const now = Date.now();
  return { notBefore: new Date(now - BACKDATE_MS), notAfter: new Date(now + YEAR_MS) };
}

/** Positive, 16 random bytes, hexadecimal. */
function serialNumber(): string {
  const bytes = webcrypto.getRandomValues(new Uint8Array(16));
  bytes[0] = ((bytes[0] ?? 0) & 0x7f) | 0x40;
  return Buffer.from(bytes).toString('hex');
}

function subject(commonName: string, organizations: readonly string[]): x509.JsonName {
  return [...organizations.map((name) => ({ O: [name] })), { CN: [commonName] }];
}

function isAddress(name: string): boolean {
  return /^[\d.]+$/.test(name) || name.includes(':');
}

function pem(certificate: x509.X509Certificate): string {
  return `${certificate.toString('pem')}\n`;
}

async function keyPem(key: webcrypto.CryptoKey): Promise<string> {
  const der = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', key)).toString('base64');
  return `-----BEGIN PRIVATE KEY-----\n${(der.match(/.{1,64}/g) ?? []).join('\n')}\n-----END PRIVATE KEY-----\n`;
}
