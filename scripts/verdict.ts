export type Coverage = Record<'statements' | 'branches' | 'functions' | 'lines', number>

export interface Run {
  /** How tap ended. */
  status: number | NodeJS.Signals
  failed: number
  skipped: { title: string, reason: string }[]
  /** In percent; null when none was measured. */
  coverage: Coverage | null
  /** Whether all tests were to run: the coverage of some says nothing. */
  whole: boolean
  ci: boolean
}

const least = 90
/** Tests that nobody runs without asking for them: they are left out on a machine that has everything, too. */
const byChoice = /^Modal credentials are not configured|SYNC_FILES|test:image/
const notInstalled = /^(.+) is not installed(?! for)/

/** Why a run of the tests has failed, if it has, and what else there is to say at its end. */
export function verdict ({ status, failed, skipped, coverage, whole, ci }: Run) {
  const reasons: string[] = []
  const lines: string[] = []
  const prevented = skipped.filter(({ reason }) => !byChoice.test(reason))
  const names = prevented.flatMap(({ reason }) => notInstalled.exec(reason)?.[1] ?? [])
  const programs = [...new Set(names)].join(', ')

  if (failed > 0) reasons.push(`${tests(failed)} failed`)
  else if (status !== 0) reasons.push(`tap ended with ${status}, though no test failed`)
  if (ci && programs !== '') reasons.push(`CI lacks ${programs}: \`bash .ci/install\` installs them`)

  if (whole && coverage === null) reasons.push('no coverage was measured')
  if (whole && coverage !== null) {
    const judged = ci || prevented.length === 0
    const measures = Object.entries(coverage)
    lines.push(`coverage: ${measures.map(([name, percent]) => `${name} ${percent} %`).join(', ')}` +
      (judged ? '' : ', not judged because tests were skipped'))
    for (const [name, percent] of judged ? measures : []) {
      if (percent >= least) continue
      reasons.push(`coverage of ${name} is ${percent} %, ${(least - percent).toFixed(2)} below ${least} %`)
    }
  }

  const causes = new Map<string, number>()
  for (const { reason } of [...prevented, ...skipped.filter((test) => !prevented.includes(test))]) {
    const cause = byChoice.test(reason)
      ? 'by choice'
      : notInstalled.test(reason) ? `for want of ${programs} (on Debian \`bash .ci/install\` installs them)` : `because ${reason}`
    causes.set(cause, (causes.get(cause) ?? 0) + 1)
  }
  if (causes.size > 0) lines.push(`skipped: ${[...causes].map(([cause, count]) => `${tests(count)} ${cause}`).join('; ')}`)
  return { reasons, lines }
}

function tests (count: number): string {
  return `${count} ${count === 1 ? 'test' : 'tests'}`
}
