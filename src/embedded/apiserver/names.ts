/** Names that the API server makes and accepts. */
import { randomInt } from 'node:crypto';

/** Characters of a generated suffix (apimachinery `rand`): no vowels, no 0, 1, 3, so that no words come up. */
const SUFFIX_ALPHABET = 'bcdfghjklmnpqrstvwxz2456789';
const SUFFIX_LENGTH = 5;
/** A generated name has at most 63 characters: longer bases are cut. */
const MAX_BASE = 63 - SUFFIX_LENGTH;

export function generateName(base: string): string {
  let suffix = '';
  for (let i = 0; i < SUFFIX_LENGTH; i++) suffix += SUFFIX_ALPHABET.charAt(randomInt(SUFFIX_ALPHABET.length));
  return base.slice(0, MAX_BASE) + suffix;
}

/** Text in the suffix alphabet, as a hash in a label or name is written (apimachinery `rand.SafeEncodeString`). */
export function safeEncode(text: string): string {
  let encoded = '';
  for (const char of text) encoded += SUFFIX_ALPHABET.charAt(char.charCodeAt(0) % SUFFIX_ALPHABET.length);
  return encoded;
}

/** RFC 1123 subdomain, at most 253 characters. */
export function isSubdomain(name: string): boolean {
  return name.length <= 253 && /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/.test(name);
}

/** RFC 1123 label, at most 63 characters. */
export function isLabel(name: string): boolean {
  return name.length <= 63 && /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/.test(name);
}
