/** What every token of a run begins with, so that any replica finds them in a text. */
export const runTokenPrefix = 'run-token-'
const runToken = new RegExp(`${runTokenPrefix}[\\w-]+\\.[\\w-]+\\.[\\w-]+`, 'g')

/** Secret values in the environment of Claude. */
export function secretsOf (env: Readonly<Record<string, string>>): string[] {
  return [env['ANTHROPIC_API_KEY'], env['AWS_BEARER_TOKEN_BEDROCK']].filter((value) => value !== undefined)
}

/** Takes them out of a text. */
export function redactor (secrets: readonly string[]): (text: string) => string {
  return (text) => redact(text, secrets)
}

/** Without these values, and without tokens of runs. */
export function redact (text: string, secrets: readonly string[]): string {
  const clean = text.includes(runTokenPrefix) ? text.replace(runToken, '[redacted]') : text
  return secrets.reduce((clean, secret) => clean.replaceAll(secret, '[redacted]'), clean)
}
