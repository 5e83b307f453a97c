/** Kubernetes' quantities ("1500m", "2Gi", "1e3"), as far as the kubelet needs them to render a resourceFieldRef. */

const SUFFIXES: Readonly<Record<string, readonly [bigint, bigint]>> = {
  '': [1n, 1n],
  n: [1n, 10n ** 9n],
  u: [1n, 10n ** 6n],
  m: [1n, 10n ** 3n],
  k: [10n ** 3n, 1n],
  M: [10n ** 6n, 1n],
  G: [10n ** 9n, 1n],
  T: [10n ** 12n, 1n],
  P: [10n ** 15n, 1n],
  E: [10n ** 18n, 1n],
  Ki: [2n ** 10n, 1n],
  Mi: [2n ** 20n, 1n],
  Gi: [2n ** 30n, 1n],
  Ti: [2n ** 40n, 1n],
  Pi: [2n ** 50n, 1n],
  Ei: [2n ** 60n, 1n],
};

/** A non-negative quantity in units of 1/`per`, rounded up as the kubelet rounds. Undefined for what is not one. */
export function quantityIn(text: string, per: 1 | 1000): bigint | undefined {
  const match = /^\+?([0-9]+)?(?:\.([0-9]*))?(?:[eE]([+-]?[0-9]{1,2})|([KMGTPE]i|[numkMGTPE])?)$/.exec(text);
  const suffix = SUFFIXES[match?.[4] ?? ''];
  if (match === null || suffix === undefined || (match[1] === undefined && !match[2])) return undefined;
  const fraction = match[2] ?? '';
  const exponent = Number(match[3] ?? 0);
  let numerator = BigInt(`${match[1] ?? ''}${fraction}`) * suffix[0] * BigInt(per);
  let denominator = 10n ** BigInt(fraction.length) * suffix[1];
  if (exponent >= 0) numerator *= 10n ** BigInt(exponent);
  else denominator *= 10n ** BigInt(-exponent);
  return (numerator + denominator - 1n) / denominator;
}

/** `amount` counted in `divisor`s, rounded up. CPU is counted in thousandths, everything else in whole units. */
export function divideQuantities(resource: string, amount: string, divisor: string | undefined): string | undefined {
  const per = resource === 'cpu' ? 1000 : 1;
  const value = quantityIn(amount, per);
  const given = quantityIn(divisor ?? '1', per);
  // The API server fills "0" in for a divisor that was not set; the kubelet then takes 1.
  const by = given === 0n ? BigInt(per) : given;
  if (value === undefined || by === undefined) return undefined;
  return ((value + by - 1n) / by).toString();
}
