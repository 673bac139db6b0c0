import { Value } from '@sinclair/typebox/value'
import { Account } from '../../schemas/account.js'

type Given = Pick<Account, 'id'> & Partial<Omit<Account, 'limits'>> & { limits?: Partial<Account['limits']> }

/** An account as the configuration would make it: what is not given has its default. */
export function accountOf (given: Given): Account {
  return Value.Default(Account, structuredClone(given)) as Account
}
