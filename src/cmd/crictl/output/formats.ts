/** Which formats commands have. */

/** Of commands that list. */
export const LIST_FORMATS = ["json", "yaml", "table"] as const;
/** Of commands that show one thing. */
export const STATUS_FORMATS = ["json", "yaml", "go-template", "table"] as const;
