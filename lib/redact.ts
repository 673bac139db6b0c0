/** Secret values in the environment of Claude. */
export function secretsOf (env: Readonly<Record<string, string>>): string[] {
  return [env['ANTHROPIC_API_KEY'], env['AWS_BEARER_TOKEN_BEDROCK']].filter((value) => value !== undefined)
}

/** Takes them out of a text. */
export function redactor (env: Readonly<Record<string, string>>): (text: string) => string {
  const secrets = secretsOf(env)
  return (text) => redact(text, secrets)
}

export function redact (text: string, secrets: readonly string[]): string {
  return secrets.reduce((clean, secret) => clean.replaceAll(secret, '[redacted]'), text)
}
