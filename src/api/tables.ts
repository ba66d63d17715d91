/**
 * Descriptors of messages, enums and services from tables that the build writes (scripts/lib/tables.ts) in the place of
 * generated code. Generated code holds each .proto file as a serialized descriptor that is read and linked when the module is
 * loaded, a third of what `ctr version` and the start of the daemon cost; a table is a closure that is looked at when its message is
 * first used. To the protobuf library both are the same (scripts/lib/tables.test.ts compares them property by property).
 */
import type {
  DescEnum,
  DescEnumValue,
  DescField,
  DescFile,
  DescMessage,
  DescMethod,
  DescOneof,
  DescService,
} from "@bufbuild/protobuf";

type Ref = DescMessage | DescEnum;
/** What of a field does not follow from its name and type. */
interface Extra {
  /** Property, when it is not the name. */
  readonly l?: string;
  /** JSON name, when it is not the property. */
  readonly j?: string;
  /** Index of its oneof. */
  readonly o?: number;
  /** Presence, when it is not the usual one of its kind. */
  readonly p?: number;
}
/**
 * Number, name, kind, then a scalar type (for maps the key's) and, for maps of scalars, the value's; or what it refers to. Kinds:
 * s e m scalar, enum, message; ls le lm lists of them; ks ke km maps.
 */
export type FieldRow = readonly [
  number,
  string,
  "s" | "e" | "m" | "ls" | "le" | "lm" | "ks" | "ke" | "km",
  number,
  number | Ref | 0,
  Extra?,
];

const EXPLICIT = 1;
const IMPLICIT = 2;
const STRING = 9;
const BYTES = 12;
const FIELD_KINDS = { s: "scalar", e: "enum", m: "message" } as const;
/** All our files are proto3. */
const FILE = { kind: "file", edition: 999, toString: () => "file" };

/** A message; rows and oneof names (with their properties) are looked at when it is first used. */
class Message {
  readonly kind = "message";
  readonly file = FILE;
  readonly nestedExtensions: readonly never[] = [];
  readonly deprecated = false;
  readonly parent = undefined;
  readonly typeName: string;
  readonly name: string;
  readonly #rows: () => readonly FieldRow[];
  readonly #oneofs: readonly (readonly [string, string])[];
  readonly #nested: () => readonly Ref[];
  #made: { fields: DescField[]; oneofs: DescOneof[]; members: (DescField | DescOneof)[] } | undefined;

  constructor(
    typeName: string,
    rows: () => readonly FieldRow[],
    oneofs: readonly (readonly [string, string])[],
    nested: () => readonly Ref[],
  ) {
    this.typeName = typeName;
    this.name = typeName.slice(typeName.lastIndexOf(".") + 1);
    this.#rows = rows;
    this.#oneofs = oneofs;
    this.#nested = nested;
  }

  get fields(): DescField[] {
    return this.#make().fields;
  }
  get oneofs(): DescOneof[] {
    return this.#make().oneofs;
  }
  get members(): (DescField | DescOneof)[] {
    return this.#make().members;
  }
  get field(): Record<string, DescField> {
    return Object.fromEntries(this.fields.map((field) => [field.localName, field]));
  }
  get nestedMessages(): DescMessage[] {
    return this.#nested().filter((one) => one.kind === "message");
  }
  get nestedEnums(): DescEnum[] {
    return this.#nested().filter((one) => one.kind === "enum");
  }
  toString(): string {
    return `message ${this.typeName}`;
  }

  #make() {
    if (this.#made !== undefined) return this.#made;
    const parent = this as unknown as DescMessage;
    const oneofs = this.#oneofs.map(
      ([name, localName]) =>
        ({
          kind: "oneof",
          name,
          localName,
          parent,
          deprecated: false,
          fields: [],
          toString: () => `oneof ${parent.typeName}.${name}`,
        }) as unknown as DescOneof,
    );
    const members = new Set<DescField | DescOneof>();
    const fields = this.#rows().map((row) => {
      const oneof = row[5]?.o === undefined ? undefined : oneofs[row[5].o];
      const field = fieldOf(parent, row, oneof);
      if (oneof !== undefined) oneof.fields.push(field);
      members.add(oneof ?? field);
      return field;
    });
    this.#made = { fields, oneofs, members: [...members] };
    return this.#made;
  }
}

function fieldOf(parent: DescMessage, row: FieldRow, oneof: DescOneof | undefined): DescField {
  const [number, name, code, scalar, ref, extra = {}] = row;
  const localName = extra.l ?? name;
  const of = FIELD_KINDS[code.at(-1) as "s" | "e" | "m"];
  const isList = code.startsWith("l");
  const isMap = code.startsWith("k");
  const type = isMap && of === "scalar" ? (ref as number) : scalar;
  const single = !isList && !isMap;
  return {
    kind: "field",
    number,
    name,
    localName,
    jsonName: extra.j ?? localName,
    parent,
    oneof,
    deprecated: false,
    presence: extra.p ?? (oneof !== undefined || (single && of === "message") ? EXPLICIT : IMPLICIT),
    utf8Validation: true,
    longAsString: false,
    delimitedEncoding: of === "message" || isMap ? false : undefined,
    fieldKind: isMap ? "map" : isList ? "list" : of,
    listKind: isList ? of : undefined,
    mapKind: isMap ? of : undefined,
    mapKey: isMap ? scalar : undefined,
    scalar: of === "scalar" ? type : undefined,
    message: of === "message" ? ref : undefined,
    enum: of === "enum" ? ref : undefined,
    packed: isList ? of === "enum" || (of === "scalar" && type !== STRING && type !== BYTES) : undefined,
    getDefaultValue: single ? () => undefined : undefined,
    toString: () => `field ${parent.typeName}.${name}`,
  } as unknown as DescField;
}

/** A message. */
export function M(
  typeName: string,
  rows: () => readonly FieldRow[],
  oneofs: readonly (readonly [string, string])[] = [],
  nested: () => readonly Ref[] = () => [],
): DescMessage {
  return new Message(typeName, rows, oneofs, nested) as unknown as DescMessage;
}

/** An enum of `[name, number, property]`. */
export function E(
  typeName: string,
  rows: readonly (readonly [string, number, string])[],
  sharedPrefix?: string,
): DescEnum {
  const desc = {
    kind: "enum",
    typeName,
    name: typeName.slice(typeName.lastIndexOf(".") + 1),
    file: FILE,
    parent: undefined,
    open: true,
    deprecated: false,
    sharedPrefix,
    values: [] as DescEnumValue[],
    value: {} as Record<number, DescEnumValue>,
    toString: () => `enum ${typeName}`,
  };
  for (const [name, number, localName] of rows) {
    const value = {
      kind: "enum_value",
      name,
      localName,
      jsonName: name,
      number,
      parent: desc,
      deprecated: false,
      toString: () => `enum value ${typeName}.${name}`,
    } as unknown as DescEnumValue;
    desc.values.push(value);
    desc.value[number] ??= value;
  }
  return desc as unknown as DescEnum;
}

const METHOD_KINDS = ["unary", "server_streaming", "client_streaming", "bidi_streaming"] as const;

/** A service of `[name, property, kind (0 unary, 1 server, 2 client, 3 bidi), input, output]`. */
export function S(
  typeName: string,
  rows: readonly (readonly [string, string, number, () => DescMessage, () => DescMessage])[],
): DescService {
  const desc = {
    kind: "service",
    typeName,
    name: typeName.slice(typeName.lastIndexOf(".") + 1),
    file: FILE,
    deprecated: false,
    methods: [] as DescMethod[],
    method: {} as Record<string, DescMethod>,
    toString: () => `service ${typeName}`,
  };
  for (const [name, localName, kind, input, output] of rows) {
    const method = {
      kind: "rpc",
      name,
      localName,
      methodKind: METHOD_KINDS[kind],
      parent: desc,
      deprecated: false,
      idempotency: 0,
      get input() {
        return input();
      },
      get output() {
        return output();
      },
      toString: () => `rpc ${typeName}.${name}`,
    } as unknown as DescMethod;
    desc.methods.push(method);
    desc.method[localName] = method;
  }
  return desc as unknown as DescService;
}

/** A file, for registries. */
export function F(
  name: string,
  messages: () => readonly DescMessage[],
  enums: () => readonly DescEnum[],
  services: () => readonly DescService[],
): DescFile {
  return {
    ...FILE,
    name,
    proto: { name },
    dependencies: [],
    deprecated: false,
    extensions: [],
    get messages() {
      return messages();
    },
    get enums() {
      return enums();
    },
    get services() {
      return services();
    },
    toString: () => `file ${name}`,
  } as unknown as DescFile;
}
