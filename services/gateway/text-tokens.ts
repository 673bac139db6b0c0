const lettersPerToken = 3
/** By byte: 1 for a lower-case letter or a space. */
const isLetter = Uint8Array.from({ length: 256 }, (_, byte) => /[a-z ]/.test(String.fromCharCode(byte)) ? 1 : 0)

/**
 * How many tokens a text has, rather too many. Words are mostly tokens of four letters or more, with the space before
 * them. Of anything else (numbers, signs, capitals as in Base64, other scripts, emoji) a token may be as short as a
 * byte of UTF-8.
 */
export function textTokens (text: Uint8Array): number {
  let letters = 0
  for (let at = 0; at < text.length; at++) letters += isLetter[text[at]!]!
  return text.length - letters + letters / lettersPerToken
}
